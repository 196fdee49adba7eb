"""Many heads in IXI's resolution: those of two phantoms, under as many names as wanted."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from datasets.phantom import writer
from datasets.phantom.settings import PhantomOptions
from datasets.sources import phantom

N_SUBJECTS = 2


def phantom_heads(root: Path) -> list[Path]:
    """Whole T1w heads of the phantom, written if they are not there."""
    options = PhantomOptions(
        layout="ixi", subjects=N_SUBJECTS, in_plane_mm=0.94, slice_mm=1.2, seed=1
    )
    writer.ensure(root, options)
    return [scan.image for scan in phantom.list_scans(root, ("T1w",)).scans]


def write_bids(root: Path, heads: list[Path], count: int) -> None:
    """Write so many heads into a BIDS folder; each has a voxel of its own.

    The same bytes under two names would be one scan.

    Args:
        root: The folder.
        heads: The heads, which take turns.
        count: How many.
    """
    images = [nib.load(head) for head in heads]
    for index in range(count):
        image = images[index % len(images)]
        voxels = np.asanyarray(image.dataobj).copy()
        voxels[0, 0, 0] = index
        path = root / f"sub-{index:03d}" / "anat" / f"sub-{index:03d}_T1w.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(voxels, image.affine, image.header), path)
