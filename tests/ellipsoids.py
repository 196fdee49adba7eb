"""Scans of ellipsoids, whose brain and lesions are known to the voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from datasets.checksums import scan_checksums, scan_key
from datasets.scan import Role, Scan
from datasets.settings import PreprocessSettings

SETTINGS = PreprocessSettings()


SHAPE = (46, 54, 40)


AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def ellipsoid(radius: tuple[float, float, float], centre: tuple[float, float, float]) -> Any:
    axes = [(np.arange(n) - c) / r for n, c, r in zip(SHAPE, centre, radius, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return x**2 + y**2 + z**2 <= 1


BRAIN = ellipsoid((16.5, 20.5, 15.5), (22.5, 26, 20))


LESION = ellipsoid((5, 6, 4), (31, 33, 22))


def save(path: Path, data: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.asarray(data, dtype=np.float32), AFFINE), path)
    return path


def make_scan(folder: Path, lesions: tuple[Any, ...] = (), seed: int = 0) -> Scan:
    noise = np.random.default_rng(seed).standard_normal(SHAPE)
    image = save(folder / "image.nii.gz", np.where(BRAIN, 300 + 30 * noise, 0))
    masks = tuple(save(folder / f"lesion{i}.nii.gz", m) for i, m in enumerate(lesions))
    return Scan("01", "a", "T1w", image, masks)


def key_of(scan: Scan, role: Role = "test", **settings: Any) -> str:
    chosen = PreprocessSettings.model_validate(settings)
    return scan_key(scan, "stroke", role, chosen, scan_checksums(scan))
