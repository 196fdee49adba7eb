"""How the driver's memory grows with the number of subjects: a study of sixty and of six hundred.

The scans are small files whose shards are put into the store by hand, so that nothing but their
number matters.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.measurement import Measurement
from benchmarks.synthetic_shards import part_of_scan
from datasets.manifest import ScanRecord, record_path, write_record
from datasets.settings import PreprocessSettings
from datasets.storage import Storage, sha256_hex
from study.prepare.cohorts import read_cohorts
from study.prepare.listing import survey

FEW, MANY = 60, 600
SLICES = 20
N_TEST = 4

_GRID = '''
"""What needs no long training."""

from study.grids._grid import Grid, GridSearch, GridTrial

GRID = Grid(
    trials=(GridTrial("intensity"),),
    searches=(GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(0.1,)),),
    phantom_subjects={},
)
'''

_COHORTS = """
[cohorts.healthy]
source = "bids"
root = "healthy"
role = "train"
modalities = ["T1w"]

[cohorts.stroke]
source = "bids"
root = "stroke"
role = "test"
modalities = ["T1w"]
"""

_RUN = """
import atexit, re, sys
from pathlib import Path

def tell():
    status = Path("/proc/self/status").read_text()
    print("peak KiB", re.search(r"VmHWM:\\s+(\\d+)", status)[1], flush=True)

atexit.register(tell)
from study import cli
from study.run.command import app
cli.run(app)
"""


def measure() -> list[Measurement]:
    """The driver's peak memory at both sizes."""
    few, many = _peak_mib(FEW), _peak_mib(MANY)
    return [
        Measurement(
            claim=f"driver's peak memory with {MANY} training subjects of {SLICES} slices",
            ours=many,
            unit="MiB",
            peer=f"the same with {FEW}",
            peers=few,
            ratio=few / many,
            wanted=0.9,
        )
    ]


def _peak_mib(subjects: int) -> float:
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as name:
        folder = Path(name)
        (folder / "quick.py").write_text(_GRID)
        (folder / "cohorts.toml").write_text(_COHORTS)
        _write_files(folder / "healthy", subjects, lesion=False)
        _write_files(folder / "stroke", N_TEST, lesion=True)
        _prepare_by_hand(folder)
        words = ["--grid", "quick.py", "--cohorts", "cohorts.toml", "--store", "store"]
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *words, "--cache", "cache"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
            check=True,
        )
    found = re.search(r"peak KiB (\d+)", done.stdout)
    if found is None:
        raise RuntimeError(f"the study has not told its memory:\n{done.stdout}{done.stderr}")
    return int(found[1]) / 1024


def _write_files(root: Path, count: int, *, lesion: bool) -> None:
    for number in range(count):
        folder = root / f"sub-{number:05d}" / "anat"
        folder.mkdir(parents=True)
        stem = folder / f"sub-{number:05d}"
        voxels = np.full((2, 2, 2), number, np.int16)
        nib.Nifti1Image(voxels, np.eye(4)).to_filename(f"{stem}_T1w.nii.gz")
        if lesion:
            mask = nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4))
            mask.to_filename(f"{stem}_label-lesion_mask.nii.gz")


def _prepare_by_hand(folder: Path) -> None:
    """Lay a record and a part beside each scan's key, as preparation would."""
    store = Storage.open(str(folder / "store"))
    for listing in survey(read_cohorts(folder / "cohorts.toml"), store, PreprocessSettings()):
        for number, task in enumerate(listing.tasks):
            data = part_of_scan(task.cohort, task.role, number, SLICES)
            sha256 = sha256_hex(data)
            path = f"{record_path(task.key).rpartition('/')[0]}/slices-{sha256[:20]}.parquet"
            write_record(
                store,
                ScanRecord(
                    key=task.key,
                    status="ok",
                    cohort=task.cohort,
                    role=task.role,
                    subject=task.scan.subject,
                    session=task.scan.session,
                    modality=task.scan.modality,
                    image=str(task.scan.image),
                    part=path,
                    sha256=store.put(path, data),
                    n_slices=SLICES,
                    lesion_volume_ml=1.0 if task.role == "test" else None,
                    lesion_outside_brain_share=0.0 if task.role == "test" else None,
                ),
            )
