"""Claim: what 128 x 128 pixels cost a map that is put back into the voxels of its scan.

The truth itself is sent there and back: lesion masks become pixels as a shard has them, and voxels
as ``study.apply`` writes them. What is measured is Dice with the mask that was drawn, of each test
scan of a folder with a ``cohorts.toml``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measurement import Measurement
from datasets.nifti import load_mask, load_volume
from datasets.preprocess import spread
from datasets.scan import Scan
from datasets.settings import SIZE, PreprocessSettings
from datasets.shards import process_scan, read_slices
from datasets.storage import Storage
from study.prepare.cohorts import read_cohorts
from study.prepare.found import list_cohort


def measure_on(real: Path) -> list[Measurement]:
    """Dice of each scan, by the volume of its lesions."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        store = Storage.open(name)
        for cohort in read_cohorts(real / "cohorts.toml"):
            if cohort.role == "test":
                for number, scan in enumerate(list_cohort(cohort).scans):
                    key = f"{len(found):010d}{number:010d}"
                    found.append((*_there_and_back(scan, key, store), cohort.name, scan.scan_id))
    return [
        Measurement(f"{cohort} {scan}, {ml:.1f} ml: there and back", dice, "Dice", "truth", 1, dice)
        for ml, dice, cohort, scan in sorted(found)
    ]


def _there_and_back(scan: Scan, key: str, store: Storage) -> tuple[float, float]:
    """The lesions' volume in ml, and Dice."""
    record = process_scan(scan, "test", "test", PreprocessSettings(), key, store)
    if record.status != "ok":
        raise RuntimeError(record.reason)
    volume = load_volume(scan.image, scan.volume)
    labels = dict(scan.lesion_labels)
    truth_XYZ = np.zeros(volume.data_XYZ.shape, bool)
    for path in scan.lesion_masks:
        truth_XYZ |= load_mask(path, volume, scan.image, labels.get(path, ()))[0]
    slices = read_slices(store, record)
    pixels = np.unpackbits(slices.lesion_bits_NK, axis=1).reshape(-1, SIZE, SIZE).astype(bool)
    back_XYZ = spread(pixels, slices.slice_index_N, slices.geometry)
    both = int((back_XYZ & truth_XYZ).sum())
    dice = 2 * both / int(back_XYZ.sum() + truth_XYZ.sum())
    return float(truth_XYZ.sum()) * volume.voxel_mm3 / 1000, dice
