"""``make bench``: run the benchmarks, print a table and JSON.

A benchmark is a module here with ``measure() -> list[Measurement]``, or, if it needs real scans,
``measure_on(real: Path) -> list[Measurement]``, which is run with ``--real DIR`` only.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks.measurement import Measurement
from datasets.plugins import plugin_names


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which benchmarks; all by default.")
    ] = None,
    real: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of real scans, for some of them.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where named results are kept as JSON, such as results.json."
        ),
    ] = None,
) -> None:
    """Run benchmarks and print what they measured."""
    console = Console(width=160)
    modules = {
        name: importlib.import_module(f"benchmarks.{name}") for name in plugin_names(benchmarks)
    }
    found = {name: module.measure for name, module in modules.items() if hasattr(module, "measure")}
    needy = {name: m.measure_on for name, m in modules.items() if hasattr(m, "measure_on")}
    if real is not None:
        found |= {name: partial(measure_on, real) for name, measure_on in needy.items()}
    elif wanting := sorted(set(names or ()) & set(needy)):
        raise typer.BadParameter(f"{wanting[0]} needs a folder of real scans: --real DIR")
    unknown = sorted(set(names or ()) - set(found))
    if unknown:
        raise typer.BadParameter(f"unknown benchmark {unknown[0]!r}; there are: {', '.join(found)}")
    rows: list[Measurement] = []
    for name in names or found:
        console.print(f"measuring {name} ...", style="dim")
        rows += found[name]()
    load = os.getloadavg()[0]
    table = Table(title=f"{os.cpu_count()} cores, load {load:.1f}, {platform.processor()}")
    for heading in ("claim", "ours", "peer", "theirs", "ratio", "wanted"):
        table.add_column(heading)
    for row in rows:
        wanted = "" if row.wanted is None else f">= {row.wanted:g}"
        table.add_row(
            row.claim,
            f"{row.ours:.4g} {row.unit}",
            row.peer,
            f"{row.peers:.4g} {row.unit}",
            f"{row.ratio:.2f}",
            wanted,
        )
    console.print(table)
    print(json.dumps({"cores": os.cpu_count(), "load": load, "rows": [asdict(r) for r in rows]}))
    if out is not None:
        _keep(out, [row for row in rows if row.name])


def _keep(out: Path, rows: Sequence[Measurement]) -> None:
    """Write what was measured, in place of the same names of before."""
    before = json.loads(out.read_text())["results"] if out.exists() else []
    results = {result["name"]: result for result in before}
    for row in rows:
        results[row.name] = {
            "name": row.name,
            "ratio": round(row.ratio, 3),
            "spread": None if row.spread is None else [round(r, 3) for r in row.spread],
            "ours": row.ours,
            "theirs": row.peers,
            "unit": row.unit,
            "peer": row.peer,
        }
    content = {"machine": _machine(), "results": [results[name] for name in sorted(results)]}
    out.write_text(json.dumps(content, indent=1) + "\n")


def _machine() -> str:
    """Processor and number of cores."""
    model = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores"


if __name__ == "__main__":
    typer.run(main)
