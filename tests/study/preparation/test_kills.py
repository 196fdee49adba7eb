"""``study.prepare`` killed at random moments: nothing finished is redone, and no byte differs.

``KILLS=10 python -m pytest tests/study/preparation/test_kills.py`` kills it as often as one wants.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from datasets.manifest import manifest_path
from datasets.settings import PreprocessSettings
from datasets.shards import process_scan, read_slices
from datasets.storage import Storage
from study.prepare.cohorts import read_cohorts
from study.prepare.listing import survey

N_SCANS = 120
KILLS = int(os.environ.get("KILLS", "2"))
LAST_KILL = 32
"""Latest number of finished scans at which a kill is due; the rest is left to the last run."""

MOST_EVENTS = 12
SEED = 7

Start = Callable[..., Any]
Until = Callable[..., None]


def _with_given_masks(folder: Path, cohorts: Path) -> None:
    """Put a brain mask beside each image, so that no tool has to tell the brain."""
    for path in sorted(folder.rglob("*_T1w.nii.gz")):
        image = nib.load(path)
        mask = (np.asarray(image.dataobj) != 0).astype(np.uint8)
        name = path.name.replace("_T1w.nii.gz", "_T1w_desc-brain_mask.nii.gz")
        nib.save(nib.Nifti1Image(mask, image.affine), path.with_name(name))
    assert cohorts.is_file()


def _records(store: Storage) -> dict[str, tuple[int, int]]:
    """Inode and time of every scan's record; either changes if it is written again."""
    found = {}
    for path in Path(store.full("shards")).glob("scans/*/record.json"):
        status = path.stat()
        found[path.parent.name] = (status.st_ino, status.st_mtime_ns)
    return found


class _Moment:
    """A random moment: so many scans finished, then so many things seen to happen.

    What happens is a file in the store or a process of this machine that comes or goes.
    """

    def __init__(self, command: Any, store: Storage, n_finished: int, n_events: int) -> None:
        self._command, self._store = command, store
        self._n_finished, self._left = n_finished, n_events
        self._seen: tuple[frozenset[str], frozenset[str]] | None = None

    def reached(self) -> bool:
        assert self._command.status is None, self._command.describe()
        # Unlike a glob, a walk bears that temporary files vanish meanwhile.
        walk = os.walk(self._store.full("shards"))
        files = frozenset(f"{folder}/{name}" for folder, _, names in walk for name in names)
        now = (files, frozenset(filter(str.isdecimal, os.listdir("/proc"))))
        if self._seen is not None and len(_records(self._store)) >= self._n_finished:
            self._left -= now != self._seen
        self._seen = now
        return self._left < 0


@pytest.mark.slow
def test_kills_at_random_moments_leave_what_an_undisturbed_run_leaves(
    make_cohorts: Callable[[int, int], Path],
    store: Storage,
    tmp_path: Path,
    start: Start,
    until: Until,
) -> None:
    cohorts = make_cohorts(N_SCANS - 12, 12)
    _with_given_masks(tmp_path / "scans", cohorts)
    words = ("-m", "study.prepare", "--cohorts", cohorts, "--store", store.uri)
    rng = np.random.default_rng(SEED)
    finished: dict[str, tuple[int, int]] = {}
    for due in np.sort(rng.integers(0, LAST_KILL, KILLS)):
        command = start(*words)
        moment = _Moment(command, store, int(due), int(rng.integers(0, MOST_EVENTS)))
        until(moment.reached, f"{due} scans are finished, and a little longer")
        if rng.random() < 0.5:
            command.kill_group()
        else:
            command.process.kill()
            command.process.wait()
        # Orphaned workers may finish a scan they had begun; that counts like any other.
        until(lambda c=command: not c.left_over(), "nothing is left of the killed run")
        now = _records(store)
        assert finished.items() <= now.items()
        assert len(now) < N_SCANS
        finished = now
    assert len(finished) > LAST_KILL // 2
    last = start(*words)
    assert last.wait() == 0, last.describe()
    assert f"{N_SCANS - len(finished)} of {N_SCANS} scans were prepared now" in last.out
    assert finished.items() <= _records(store).items()
    _compare(cohorts, store, Storage.open(str(tmp_path / "undisturbed")))


def _compare(cohorts: Path, store: Storage, other: Storage) -> None:
    """Shards and manifests of a store against those of scans prepared here, one by one."""
    settings = PreprocessSettings()
    listings = survey(read_cohorts(cohorts), store, settings)
    assert sum(len(listing.records) for listing in listings) == N_SCANS
    for listing in listings:
        assert store.exists(manifest_path(listing.key))
        for task, record in zip(listing.tasks, listing.records, strict=True):
            fresh = process_scan(task.scan, task.cohort, task.role, settings, task.key, other)
            ignored = {"wall_s": 0.0}
            assert record.model_copy(update=ignored) == fresh.model_copy(update=ignored)
            assert record.brain_tool == "given mask"
            assert store.read(record.part) == other.read(fresh.part)
            assert len(read_slices(store, record).images_NHW) == record.n_slices
