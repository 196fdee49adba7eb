"""Claim: preparing a scan takes less CPU time than at an earlier revision, for the same bytes.

The earlier revision is checked out beside this one, and both prepare the same scans in turn, in
processes of their own with one thread. ``make bench`` takes heads of the phantom in IXI's layout;
other scans, and other revisions, by

    python -m benchmarks.preparation REVISION --cohorts cohorts.toml
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.earlier import REVISION, ROOT, checkout, is_there
from benchmarks.measurement import Measurement, of_pairs
from datasets.phantom import writer
from datasets.phantom.settings import PhantomOptions

ROUNDS = 5

_PREPARE = """
import hashlib, json, sys, tempfile, time
from itertools import islice
from pathlib import Path

import torch

from datasets import sources
from datasets.plugins import load_plugin
from datasets.settings import PreprocessSettings
from datasets.shards import process_scan
from datasets.storage import Storage
from study.cluster.memory import keep_freed
from study.prepare.cohorts import read_cohorts

torch.set_num_threads(1)
keep_freed()
store = Storage.open(tempfile.mkdtemp(dir=sys.argv[2]))
is_warm = False
for cohort in read_cohorts(Path(sys.argv[1])):
    source = load_plugin(sources, cohort.source, "source")
    for scan in islice(source.list_scans(cohort.root, cohort.modalities).scans, int(sys.argv[3])):
        for _ in range(1 if is_warm else 2):  # the first one loads the network
            started = time.process_time()
            record = process_scan(
                scan, cohort.name, cohort.role, PreprocessSettings(), "a" * 20, store
            )
            taken = time.process_time() - started
        is_warm = True
        name = f"{cohort.name} {scan.subject} {scan.session} {scan.modality}"
        part = hashlib.sha256(store.read(record.part)).hexdigest() if record.part else record.reason
        print(json.dumps([name, taken, record.status, part]), flush=True)
"""


def measure() -> list[Measurement]:
    if not is_there(REVISION):
        return []
    with tempfile.TemporaryDirectory() as name, checkout(REVISION, Path(name)) as before:
        folder = Path(name)
        file = _phantom(folder)

        def taken_s(tree: Path) -> float:
            return sum(scan[1] for scan in _prepared(tree, file, folder, 2))

        pairs = [(taken_s(ROOT), taken_s(before)) for _ in range(ROUNDS)]
    claim = "preparation of two heads of the phantom in IXI's resolution"
    return [of_pairs("preparation_vs_before", claim, f"revision {REVISION}", pairs, 1 / 0.8)]


def main(
    revision: Annotated[str, typer.Argument(help="The earlier revision, as git knows it.")],
    cohorts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Cohorts; the phantom by default.")
    ] = None,
    scans: Annotated[int, typer.Option(help="Most scans of each cohort.")] = 2,
    rounds: Annotated[int, typer.Option(help="How often each prepares them.")] = ROUNDS,
) -> None:
    """Prepare the same scans with two revisions and print the ratios of their CPU time."""
    console = Console(width=140)
    with tempfile.TemporaryDirectory() as name, checkout(revision, Path(name)) as before:
        folder = Path(name)
        file = cohorts or _phantom(folder)
        times: dict[str, list[tuple[float, float]]] = {}
        n_other = 0
        for number in range(rounds):
            console.print(f"round {number + 1} of {rounds}", style="dim")
            old, new = (_prepared(tree, file, folder, scans) for tree in (before, ROOT))
            for one, other in zip(old, new, strict=True):
                times.setdefault(one[0], []).append((one[1], other[1]))
                n_other += one[2:] != other[2:]
    table = Table(title=f"CPU seconds of a scan, load {os.getloadavg()[0]:.1f}")
    for heading in ("scan", f"at {revision}", "now", "ratio"):
        table.add_column(heading)
    ratios = []
    for scan, pairs in times.items():
        old_s, new_s = (statistics.median(one) for one in zip(*pairs, strict=True))
        ratios.append(statistics.median(new / old for old, new in pairs))
        table.add_row(scan, f"{old_s:.2f}", f"{new_s:.2f}", f"{ratios[-1]:.2f}")
    console.print(table)
    console.print(f"median ratio {statistics.median(ratios):.2f} of {len(ratios)} scans")
    console.print(f"{n_other} of {rounds * len(times)} results differ")


def _phantom(folder: Path) -> Path:
    """Heads of the phantom, and the cohorts file that names them."""
    writer.ensure(folder / "ixi", PhantomOptions(layout="ixi", subjects=2))
    file = folder / "cohorts.toml"
    file.write_text('[cohorts.ixi]\nsource = "ixi"\nroot = "ixi"\nrole = "train"\n')
    return file


def _prepared(tree: Path, cohorts: Path, folder: Path, scans: int) -> list[list[Any]]:
    """Name, CPU seconds, status and checksum of each scan, prepared by a tree."""
    line = [sys.executable, "-c", _PREPARE, str(cohorts.resolve()), str(folder), str(scans)]
    env = os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=tree, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(text) for text in done.stdout.splitlines() if text.startswith("[")]


if __name__ == "__main__":
    typer.run(main)
