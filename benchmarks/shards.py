"""Claim: a trial has its slices from shards much sooner than from the scans themselves.

The peer reads each head and its brain mask with nibabel, and cuts, resizes and normalises the
slices by the same functions as a shard's were. It is what a trial without shards would do if it
kept brain masks alone; both end with the same slices in memory, which is checked.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measurement import Measurement, compared
from datasets.brain import extract_brain
from datasets.manifest import ScanRecord
from datasets.nifti import Volume, load_volume
from datasets.phantom import writer
from datasets.phantom.settings import PhantomOptions
from datasets.preprocess import SliceStack, preprocess
from datasets.scan import Scan
from datasets.settings import PreprocessSettings
from datasets.shards import process_scan, read_slices
from datasets.sources import phantom
from datasets.storage import Storage

N_SUBJECTS = 4
SETTINGS = PreprocessSettings()


@dataclass(frozen=True)
class _Head:
    """A scan as nibabel finds it.

    Attributes:
        image: The file of the head.
        brain: The file of its brain mask.
        grid: Where its voxels lie.
    """

    image: Path
    brain: Path
    grid: Volume

    def slices(self) -> SliceStack:
        """What a shard holds of it."""
        data_XYZ = _voxels(self.image).astype(np.float32)
        brain_XYZ = _voxels(self.brain) > 0
        volume = replace(self.grid, data_XYZ=data_XYZ)
        return preprocess(volume, brain_XYZ, np.zeros_like(brain_XYZ), SETTINGS)


def measure() -> list[Measurement]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = PhantomOptions(
            layout="ixi", subjects=N_SUBJECTS, in_plane_mm=0.94, slice_mm=1.2, seed=1
        )
        writer.ensure(folder / "phantom", options)
        store = Storage.open(str(folder / "store"))
        scans = phantom.list_scans(folder / "phantom", ("T1w",)).scans
        records = [_prepared(scan, number, store) for number, scan in enumerate(scans)]
        heads = [_head(scan, folder / f"{number}.nii") for number, scan in enumerate(scans)]
        for head, record in zip(heads, records, strict=True):
            found = read_slices(store, record).images_NHW
            if not np.array_equal(head.slices().images_SHW, found):
                raise RuntimeError("the shard holds other slices than the scan has")
        return [
            compared(
                "shards_vs_nibabel",
                f"slices of {len(scans)} heads from shards, their checksums included",
                "nibabel and the same resizing",
                lambda: [read_slices(store, record) for record in records],
                lambda: [head.slices() for head in heads],
                wanted=10.0,
            )
        ]


def _prepared(scan: Scan, number: int, store: Storage) -> ScanRecord:
    record = process_scan(scan, "healthy", "train", SETTINGS, f"{number:020d}", store)
    if record.status != "ok":
        raise RuntimeError(record.reason)
    return record


def _head(scan: Scan, mask: Path) -> _Head:
    volume = load_volume(scan.image, scan.volume)
    widened = SETTINGS.brain_mask == "widened"
    brain = extract_brain(volume, scan, SETTINGS.brain_extractor, widened=widened)
    image = nib.as_closest_canonical(nib.load(scan.image))
    nib.save(nib.Nifti1Image(brain.mask_XYZ.astype(np.uint8), image.affine), mask)
    return _Head(scan.image, mask, volume)


def _voxels(path: Path) -> NDArray[Any]:
    return np.asanyarray(nib.as_closest_canonical(nib.load(path)).dataobj)
