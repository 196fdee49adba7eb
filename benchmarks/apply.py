"""Claims: maps cost little beside preparing a scan, memory is bounded, and thresholds hold.

Whole commands are timed, Ray's start and end included: ``study.prepare`` and ``study.apply`` on the
same heads of the phantom, in IXI's resolution and under many subjects' names. The threshold
``healthy:5%`` is chosen by twenty healthy phantoms and measured in the maps of twenty others.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.heads import phantom_heads, write_bids
from benchmarks.measurement import Measurement
from datasets.phantom import writer
from datasets.phantom.layouts import LayoutName
from datasets.phantom.settings import PhantomOptions
from study.cluster.processes import descendants, private_gib

N_SCANS, TIMES = 6, 10
N_REFERENCE = N_FRESH = 20
SHARE, TOLERANCE = 0.05, 0.01

_GRID = '''
"""A network, the mixture, the intensity."""

from study.grids._grid import Grid, GridSearch, GridTrial

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        GridTrial("vae", {"n_c": 8, "n_z": 16, "batch_size": 32}, epochs=8),
    ),
    searches=(GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(0.01,)),),
    phantom_subjects={},
)
'''


def measure() -> list[Measurement]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = Path(name)
        trials = _study(folder)
        return [*_cost(folder, trials["vae"]), *_marked(folder, trials)]


def _study(folder: Path) -> dict[str, str]:
    """A small study whose thresholds are chosen by a healthy cohort; its fits by model."""
    cohorts = []
    for seed, (name, role, layout, subjects) in enumerate(
        (
            ("train", "train", "ixi", 6),
            ("reference", "healthy", "ixi", N_REFERENCE),
            ("fresh", "", "ixi", N_FRESH),
            ("stroke", "test", "atlas", 2),
        ),
        start=1,
    ):
        _phantom(folder / name, layout, subjects, seed)
        if role:
            cohorts.append(
                f'[cohorts.{name}]\nsource = "{layout}"\nroot = "{name}"\nrole = "{role}"\n'
                'modalities = ["T1w"]\n'
            )
    (folder / "cohorts.toml").write_text("\n".join(cohorts))
    (folder / "few.py").write_text(_GRID)
    words = ("--grid", "few.py", "--cohorts", "cohorts.toml", "--store", "store")
    _run(folder, "study.run", *words)
    report = _run(folder, "study.report", "--store", "store", "--format", "json")
    return {row["model"]: row["trial_id"] for row in json.loads(report)["rows"]}


def _phantom(root: Path, layout: LayoutName, subjects: int, seed: int) -> None:
    writer.ensure(root, PhantomOptions(layout=layout, subjects=subjects, seed=seed))


def _cost(folder: Path, trial: str) -> list[Measurement]:
    """What a scan takes of either command, and how memory grows with their number."""
    heads = phantom_heads(folder / "heads")
    for name, count in (("few", N_SCANS), ("many", TIMES * N_SCANS)):
        write_bids(folder / name, heads, count)
    (folder / "many.toml").write_text(
        '[cohorts.many]\nsource = "bids"\nroot = "many"\nrole = "train"\n'
    )
    fit = ("--store", "store", "--trial", trial)
    _, few_gib = _watched(folder, "study.apply", "few", "maps-few", *fit)
    many_s, many_gib = _watched(folder, "study.apply", "many", "maps-many", *fit)
    alone_s, _ = _watched(folder, "study.prepare", "--cohorts", "many.toml", "--store", "prepared")
    count = TIMES * N_SCANS
    return [
        Measurement(
            f"maps of a scan by a VAE, {count} scans, the whole command",
            many_s / count,
            "s",
            "study.prepare alone",
            alone_s / count,
            alone_s / many_s,
            1 / 3,
        ),
        Measurement(
            f"peak memory of {TIMES}x as many scans",
            many_gib,
            "GiB",
            f"{N_SCANS} scans",
            few_gib,
            few_gib / many_gib,
            1 / 1.1,
        ),
    ]


def _marked(folder: Path, trials: dict[str, str]) -> list[Measurement]:
    """What ``healthy:5%`` marks of healthy phantoms that did not choose it."""
    found = []
    for model, trial in trials.items():
        out = f"maps-{model}"
        words = ("fresh", out, "--store", "store", "--trial", trial, "--source", "ixi")
        _run(folder, "study.apply", *words)
        marked = scored = 0
        for path in sorted((folder / out).glob("sub-*/**/*_desc-scored_mask.nii.gz")):
            scored += np.count_nonzero(nib.load(path).dataobj)
            (mask,) = path.parent.glob(f"{path.name.split('_desc')[0]}_label-lesion*_mask.nii.gz")
            marked += np.count_nonzero(nib.load(mask).dataobj)
        share = marked / scored
        found.append(
            Measurement(
                f"healthy:5% of {model} on {N_FRESH} others: marked of the brain",
                100 * share,
                "%",
                "what it is meant to",
                100 * SHARE,
                TOLERANCE / max(abs(share - SHARE), 1e-6),
                1.0,
            )
        )
    return found


def _command(module: str, words: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", module, *words]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}


def _run(folder: Path, module: str, *words: str) -> str:
    done = subprocess.run(
        _command(module, words),
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def _watched(folder: Path, module: str, *words: str) -> tuple[float, float]:
    """Seconds of a command, and the peak of the private memory of it and all that it starts."""
    peak_gib, over = 0.0, threading.Event()
    began = time.perf_counter()
    with subprocess.Popen(
        _command(module, words), cwd=folder, env=_environment(), stdout=subprocess.DEVNULL
    ) as process:

        def look() -> None:
            nonlocal peak_gib
            while not over.wait(0.2):
                held = sum(private_gib(pid) for pid in [process.pid, *descendants(process.pid)])
                peak_gib = max(peak_gib, held)

        thread = threading.Thread(target=look)
        thread.start()
        process.wait()
        over.set()
        thread.join()
    if process.returncode:
        raise RuntimeError(f"{module} ended with {process.returncode}")
    return time.perf_counter() - began, peak_gib
