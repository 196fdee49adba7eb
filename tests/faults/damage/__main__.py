"""Single damages of a store: what report, check and gc make of each, and of some, a resumed run."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.commands import begin, wait_until
from tests.faults.cluster import free_port, has_started, start_words
from tests.faults.damage.campaign import Campaign
from tests.faults.damage.copies import Copies
from tests.faults.damage.draws import Damage, draw, spread
from tests.faults.damage.outcome import Outcome, Wrong
from tests.faults.damage.places import UnknownFileError
from tests.faults.damage.resume import Resumer

COUNT, RESUMED = 2000, 100
LIMIT_S = 30.0
_START_LIMIT_S = 120.0


def main() -> int:
    """Run a campaign and print a table; returns the exit status."""
    arguments = _arguments()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    with ExitStack() as stack:
        folder = arguments.folder
        if folder is None:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="damage-"))
            folder = Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        address = stack.enter_context(_cluster(folder))
        try:
            copies = stack.enter_context(closing(Copies(folder, address, arguments.limit)))
        except UnknownFileError as error:
            console.print(f"error: {error}", markup=False, soft_wrap=True)
            return 1
        resumer = stack.enter_context(closing(Resumer(copies)))
        outcomes = _run(Campaign(copies, resumer), arguments, console)
        changed = copies.intact()
    console.print(_table(outcomes))
    if not resumer.can_repair:
        console.print("there is no command that repairs: stores were resumed as they were")
    for path in changed:
        console.print(f"the original was written to: {path}", markup=False, soft_wrap=True)
    for outcome in outcomes:
        for kind, sentence in outcome.wrong:
            _print_wrong(outcome, kind, sentence, arguments.folder, console)
    bad = sum(bool(outcome.wrong) for outcome in outcomes)
    console.print(f"{len(outcomes)} damages, {bad} with problems")
    return 1 if bad or changed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.damage", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--count", type=int, default=COUNT, help="damages in all")
    parser.add_argument("--resumed", type=int, default=RESUMED, help="repaired and resumed")
    parser.add_argument("--only", default="", help='such as "studies/S/study.json: bit flip"')
    parser.add_argument("--nth", type=int, help="only this one of its kind")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds, then it hangs")
    parser.add_argument("--folder", type=Path, help="keep the store here, or use what is kept")
    return parser.parse_args()


@contextmanager
def _cluster(folder: Path) -> Iterator[str]:
    """A Ray cluster; its address."""
    port = free_port()
    cluster = begin(start_words(port), folder)
    try:
        if not wait_until(lambda: has_started(cluster), _START_LIMIT_S):
            raise RuntimeError(f"no Ray cluster has started\n{cluster.describe()}")
        yield f"127.0.0.1:{port}"
    finally:
        cluster.process.terminate()
        cluster.wait()


def _run(campaign: Campaign, arguments: argparse.Namespace, console: Console) -> list[Outcome]:
    damages = _wanted(campaign, arguments)
    resumed = set(spread(damages, arguments.resumed))
    outcomes = []
    for damage in damages:
        outcome = campaign.run(damage, resume=damage in resumed)
        if outcome.is_void:
            continue
        outcomes.append(outcome)
        wrong = ", ".join(dict.fromkeys(kind for kind, _ in outcome.wrong))
        line = f"{len(outcomes)}: {damage.name} {damage.nth}: {outcome.words}: {wrong or 'right'}"
        console.print(line, markup=False, soft_wrap=True)
    return outcomes


def _wanted(campaign: Campaign, arguments: argparse.Namespace) -> list[Damage]:
    places, only, seed = campaign.copies.places, arguments.only, arguments.seed
    if arguments.nth is None:
        return draw(places, arguments.count, seed, only)
    kinds = {(d.kind, d.harm) for d in draw(places, COUNT, seed, only)}
    return sorted(Damage(kind, harm, arguments.nth, seed) for kind, harm in kinds)


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="damages and what came of them", title_justify="left")
    table.add_column("file or folder", no_wrap=True)
    table.add_column("damage", no_wrap=True)
    for name in ("count", "as before", "said", *Wrong, "resumed"):
        table.add_column(name, justify="right")
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.damage.kind, outcome.damage.harm), []).append(outcome)
    for (kind, harm), mine in groups.items():
        table.add_row(kind, harm, *_counts(mine))
    for harm in sorted({harm for _, harm in groups}):
        mine = [o for o in outcomes if o.damage.harm == harm]
        table.add_row("all", harm, *_counts(mine), style="dim")
    table.add_row("all", "all", *_counts(outcomes), style="bold")
    return table


def _counts(outcomes: list[Outcome]) -> list[str]:
    right = [o for o in outcomes if not o.wrong]
    wrong = [sum(o.has(kind) for o in outcomes) for kind in Wrong]
    said = sum(o.said for o in right)
    resumed = sum(o.resumed for o in outcomes)
    return [str(n) for n in (len(outcomes), len(right) - said, said, *wrong, resumed)]


def _print_wrong(
    outcome: Outcome, kind: Wrong, sentence: str, folder: Path | None, console: Console
) -> None:
    """Print what is wrong, and the command that does it again: on the same store, if it is kept."""
    damage = outcome.damage
    more = f" --seed {damage.seed} --resumed {int(outcome.resumed)}"
    more += f" --folder {folder}" if folder else ""
    lines = sentence.strip().splitlines()
    words = lines[-1] if lines else ""
    command = f'python -m tests.faults.damage --only "{damage.name}" --nth {damage.nth}'
    console.print(f"{kind}: {outcome.words}: {words}", markup=False, soft_wrap=True)
    console.print(f"   {command}{more}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
