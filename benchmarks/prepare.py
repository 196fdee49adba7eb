"""Claims: preparation is faster than the Python port of BET alone, and its memory is bounded.

Heads of the phantom in IXI's resolution, under many subjects' names. Ours is everything from the
file to the shard; the peer only tells the brain, in as many processes.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import tempfile
import threading
import time
from contextlib import redirect_stdout
from pathlib import Path

from rich.console import Console

from benchmarks.heads import phantom_heads, write_bids
from benchmarks.measurement import Measurement, seconds
from datasets.settings import PreprocessSettings
from datasets.storage import Storage
from study.cluster import connection
from study.cluster.processes import descendants, private_gib
from study.prepare.cohorts import Cohort
from study.prepare.preparation import Preparation
from study.progress.live import View
from study.progress.monitor import Monitor
from study.progress.tracker import Tracker

N_SCANS = 6
TIMES = 10


def measure() -> list[Measurement]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        heads = phantom_heads(folder / "phantom")
        cores = os.cpu_count() or 1
        # Ray's workers would give way to everything else on the machine; the peer does not.
        os.environ.update(RAY_worker_niceness="0")
        connection.configure(verbose=False)
        with connection.connected("local", verbose=False) as ray:
            _prepare(folder, "warm-up", heads, 2 * cores, ray)
            ours_s, base_gib = _prepare(folder, "base", heads, N_SCANS, ray)
            many_s, many_gib = _prepare(folder, "many", heads, TIMES * N_SCANS, ray)
        peers_s = _peer(heads, cores)
    ours, many = 60 * N_SCANS / ours_s, 60 * TIMES * N_SCANS / many_s
    peers = 60 * N_SCANS / peers_s
    kind = f"{N_SCANS} scans"
    return [
        Measurement(
            f"whole-head T1w scans prepared, {cores} cores",
            many,
            "scans/min",
            "brainextractor, brain masks only",
            peers,
            many / peers,
            4.0,
        ),
        Measurement(
            f"peak memory of {TIMES}x as many scans",
            many_gib,
            "GiB",
            kind,
            base_gib,
            base_gib / many_gib,
            1 / 1.1,
        ),
        Measurement(
            f"pace with {TIMES}x as many scans", many, "scans/min", kind, ours, many / ours, 0.9
        ),
    ]


def _prepare(
    folder: Path, name: str, heads: list[Path], count: int, ray: object
) -> tuple[float, float]:
    """Seconds, and the peak of the private memory of this process and all of Ray, in GiB."""
    root = folder / name
    write_bids(root, heads, count)
    tracker = Tracker()
    preparation = Preparation(
        (Cohort(name=name, source="bids", root=root, role="train"),),
        Storage.open(str(folder / "store")),
        PreprocessSettings(),
        lambda: ray,
        Monitor(tracker, View(tracker, Console(quiet=True))),
    )
    with _Peak() as peak:
        wall_s = seconds(preparation.run)
    if preparation.prepared != count:
        raise RuntimeError(f"{preparation.prepared} of {count} scans were prepared")
    return wall_s, peak.gib


def _peer(heads: list[Path], cores: int) -> float:
    """Seconds for as many scans, after one in each process, which compiles its code."""
    paths = [heads[index % len(heads)] for index in range(N_SCANS)]
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(_brainextractor, paths[:1] * cores, chunksize=1)
        return seconds(lambda: pool.map(_brainextractor, paths, chunksize=1))


def _brainextractor(path: Path) -> int:
    import nibabel as nib
    from brainextractor import BrainExtractor

    with redirect_stdout(io.StringIO()):
        extractor = BrainExtractor(img=nib.load(path))
        extractor.run()
        return int(extractor.compute_mask().sum())


class _Peak:
    """Looks five times a second at what a process and all below it hold."""

    def __enter__(self) -> _Peak:
        self.gib = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        self._started = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            here = os.getpid()
            held = sum(private_gib(process) for process in [here, *descendants(here)])
            self.gib = max(self.gib, held)
