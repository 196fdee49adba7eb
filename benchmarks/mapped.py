"""Training on a cohort of three times the memory that a process may have, against one that fits.

Both train on the same copy of slices, of which a control group keeps the one process from holding
more than a third in memory; the other has it all in the kernel's cache. Needs root and version 1 of
control groups.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measurement import Measurement
from benchmarks.synthetic_shards import write_cohort
from datasets.manifest import read_manifest
from datasets.slice_cache import SliceCache
from datasets.slice_files import SLICE_BYTES
from datasets.storage import Storage
from study.trials.data import mapped_slices, slice_set
from trainables.detector import StepMetrics
from trainables.spec import TrialSpec

LIMIT_GIB = 1.0
TIMES = 3
SLICES_A_SUBJECT = 100
TIMED_S = 15.0
PAIRS = 3

_GROUPS = Path("/sys/fs/cgroup/memory")


def measure() -> list[Measurement]:
    """Slices a second within the limit and without it."""
    if os.geteuid() or not _GROUPS.is_dir():
        return []
    subjects = int(TIMES * LIMIT_GIB * 2**30 / SLICE_BYTES / SLICES_A_SUBJECT)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        store = Storage.open(f"{folder}/store")
        cohort = write_cohort(store, "healthy", "train", subjects=subjects, slices=SLICES_A_SUBJECT)
        words = (folder, cohort.key)
        _train(words, 0.0)  # copies, and reads all once
        pairs = [(_train(words, LIMIT_GIB), _train(words, 0.0)) for _ in range(PAIRS)]
    ours = statistics.median(within for within, _ in pairs)
    peers = statistics.median(without for _, without in pairs)
    return [
        Measurement(
            claim=f"training on {TIMES} times the memory ({LIMIT_GIB:g} GiB), AE (8, 8)",
            ours=ours,
            unit="slices/s",
            peer="all of it in memory",
            peers=peers,
            ratio=ours / peers,
            wanted=0.8,
        )
    ]


def _train(words: tuple[str, ...], limit_gib: float) -> float:
    """Slices a second of a process that may have so much memory; 0 is no limit."""
    group = _GROUPS / f"anomaly-study-{os.getpid()}"
    if limit_gib:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(int(limit_gib * 2**30)))
        subprocess.run(["sync"], check=True)
        # What others have read is not counted against the group.
        Path("/proc/sys/vm/drop_caches").write_text("1")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.mapped", *words, str(group) if limit_gib else ""],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        if limit_gib:
            group.rmdir()
    return float(json.loads(done.stdout))


def _here(folder: str, key: str, group: str) -> float:
    """Train in this process, once it is in its group."""
    if group:
        Path(group, "cgroup.procs").write_text(str(os.getpid()))
    import torch

    torch.set_num_threads(1)
    store = Storage.open(f"{folder}/store")
    manifest = read_manifest(store, key)
    if manifest is None:
        raise ValueError(f"there is no cohort {key!r} in {folder!r}")
    cache = SliceCache(Path(folder, "cache"), run="benchmark")
    slices, _ = mapped_slices(cache, store, slice_set("train", [manifest]))
    if not group:
        slices.images_NHW.max()  # into the kernel's cache
    spec = TrialSpec(model="ae", modality="T1w", params={"n_c": 8, "n_z": 8, "batch_size": 32})
    seen, seconds, last = 0, 0.0, None
    for metrics in spec.completed().detector().fit(slices, None, 1, every_s=1.0):
        if not isinstance(metrics, StepMetrics):
            break
        now = time.perf_counter()
        if last is not None:
            seen, seconds = seen + metrics.n_slices, seconds + now - last
        last = now
        if seconds > TIMED_S:
            break
    return seen / seconds


if __name__ == "__main__":
    print(json.dumps(_here(*sys.argv[1:])))
