"""Small heads as NIfTI files in BIDS folders, and cohorts of them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (40, 48, 40)
SPACING_MM = 4.5


def brain_mask(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """An ellipsoid that passes quality control as a brain."""
    return _depth(shape) < 1


def _depth(shape: tuple[int, int, int]) -> np.ndarray:
    """0 in the middle of the brain, 1 at its surface."""
    axes = [(np.arange(n) - (n - 1) / 2) * SPACING_MM for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return (x / 66) ** 2 + (y / 82) ** 2 + (z / 62) ** 2


def _tissues(shape: tuple[int, int, int]) -> np.ndarray:
    """The mean intensity of fluid, white and grey matter, one around the other.

    A mixture of Gaussians is soon fitted to them; on a single tissue EM creeps for seconds.
    """
    depth = _depth(shape)
    return np.where(depth < 0.1, 200, np.where(depth < 0.55, 550, 400))


def write_head(
    root: Path,
    subject: str,
    *,
    lesion: bool = False,
    skull: bool = False,
    shape: tuple[int, int, int] = SHAPE,
    seed: int | None = None,
) -> Path:
    """Write a scan; without a skull its background is exactly zero, with one it is noise."""
    rng = np.random.default_rng(
        [sum(subject.encode()), *subject.encode()] if seed is None else seed
    )
    brain = brain_mask(shape)
    around = rng.uniform(10, 60, shape) if skull else np.zeros(shape)
    image = np.where(brain, _tissues(shape) + rng.normal(0, 30, shape), around).astype(np.float32)
    affine = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    folder = root / f"sub-{subject}" / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"sub-{subject}_T1w.nii.gz"
    nib.save(nib.Nifti1Image(image, affine), path)
    if lesion:
        mask = np.zeros(shape, dtype=np.uint8)
        mask[12:18, 20:28, 18:24] = 1
        name = f"sub-{subject}_T1w_label-lesion_mask.nii.gz"
        nib.save(nib.Nifti1Image(mask, affine), folder / name)
    return path


def write_cohorts(folder: Path, n_train: int, n_test: int) -> Path:
    """Write a train and a test cohort of stripped heads, and their cohorts file."""
    for i in range(n_train):
        write_head(folder / "healthy", f"h{i:03d}")
    for i in range(n_test):
        write_head(folder / "stroke", f"s{i:03d}", lesion=True)
    path = folder / "cohorts.toml"
    path.write_text(
        '[cohorts.healthy]\nsource = "bids"\nroot = "healthy"\nrole = "train"\n'
        '[cohorts.stroke]\nsource = "bids"\nroot = "stroke"\nrole = "test"\n'
    )
    return path
