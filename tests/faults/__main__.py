"""``make faults``: every kind of kill, several times; prints the count and outcome per kind."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.kills import KINDS, Arena, Outcome

TIMES = 3


def main() -> int:
    """Run all kills and print a table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--times", type=int, default=TIMES, help="kills of each kind")
    parser.add_argument("--target", help="only kills of this: driver, worker, raylet, ...")
    arguments = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    kinds = [kind for kind in KINDS if arguments.target in (None, kind[0])]
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        arena = Arena(Path(folder))
        for target, moment in kinds:
            for nth in range(arguments.times):
                outcome = arena.kill(target, moment, nth)
                outcomes.append(outcome)
                word = "ok" if not outcome.problems else "WRONG"
                line = f"{len(outcomes)}: {target}, {moment}: {word}: killed {outcome.hit}"
                console.print(line, markup=False, soft_wrap=True)
                for problem in outcome.problems:
                    console.print(f"   {problem}", markup=False, soft_wrap=True)
    console.print(_table(outcomes))
    wrong = sum(bool(outcome.problems) for outcome in outcomes)
    console.print(f"{len(outcomes)} kills, {wrong} with problems")
    return 1 if wrong else 0


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="kills and what came of them", title_justify="left")
    for name in ("killed", "during"):
        table.add_column(name)
    for name in ("kills", "hit", "finished records", "written again", "epochs repeated", "right"):
        table.add_column(name, justify="right")
    for target, moment in dict.fromkeys((o.target, o.moment) for o in outcomes):
        mine = [o for o in outcomes if (o.target, o.moment) == (target, moment)]
        table.add_row(
            target,
            moment,
            str(len(mine)),
            str(sum(bool(o.hit) for o in mine)),
            str(sum(o.n_finished for o in mine)),
            str(sum(o.n_written_again for o in mine)),
            str(sum(o.n_epochs_repeated for o in mine)),
            str(sum(not o.problems for o in mine)),
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
