"""The phantom's one reference head: ICBM 152 tissue maps, and a head built around its brain.

The template is distributed without skull. Skull, scalp, face and neck are drawn here from simple
solids in its space, closely enough that a brain extractor meets what it meets on a real scan.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import nibabel as nib
import numpy as np
import scipy
from numpy.typing import NDArray

from datasets.phantom.fields import Axes, Floats, SamplingGrid, SmoothField

AIR, BONE, MARROW, FAT, MUSCLE, FLUID, EYE, CORD, SKIN = range(9)
"""Labels of what surrounds the brain. ``FLUID`` is cerebrospinal fluid."""

N_LABELS: Final = 9

_BOX_MM = ((-106.0, 106.0), (-146.0, 126.0), (-186.0, 126.0))
_SPACING_MM = 2.0
_TEXTURE_SEED = 152


@dataclass(frozen=True)
class Head:
    """The reference head, in the millimetres of the MNI space of ICBM 152.

    Attributes:
        grey: Fraction of grey matter, (197, 233, 189) at 1 mm.
        white: Fraction of white matter, on the same grid.
        tissue_first_mm: Centre of the first voxel of these two.
        depth: Signed distance to the brain's surface in mm, negative inside, on ``grid``.
        hull: Signed distance to the inner skull, a smooth hull of the brain, on ``grid``.
        labels: What lies outside the skull and scalp layers (face, neck), on ``grid``.
        grid: A grid of the whole head.
    """

    grey: Floats
    white: Floats
    tissue_first_mm: tuple[float, float, float]
    depth: Floats
    hull: Floats
    labels: NDArray[np.uint8]
    grid: SamplingGrid


@lru_cache(maxsize=1)
def load_head() -> Head:
    """Read the template and build the head; once per process, it is never changed."""
    t1w, first_mm = _read("t1")
    grey, _ = _read("gm")
    white, _ = _read("wm")
    spacing = (_SPACING_MM, _SPACING_MM, _SPACING_MM)
    grid = SamplingGrid.covering(_BOX_MM, spacing)
    brain = _on_grid(t1w > 0, first_mm, grid)
    depth = _signed_distance(brain, spacing)
    closed = scipy.ndimage.distance_transform_edt(depth < 9.0, sampling=spacing) > 9.0
    hull = _signed_distance(closed | brain, spacing)
    head = Head(
        grey=grey / np.float32(255),
        white=white / np.float32(255),
        tissue_first_mm=first_mm,
        depth=scipy.ndimage.gaussian_filter(depth, 0.6),
        hull=scipy.ndimage.gaussian_filter(hull, 1.5),
        labels=_draw_labels(grid.axes(), hull),
        grid=grid,
    )
    for array in (head.grey, head.white, head.depth, head.hull, head.labels):
        array.flags.writeable = False
    return head


def _signed_distance(inside: NDArray[np.bool_], spacing: tuple[float, float, float]) -> Floats:
    """Distance to the border of a region in mm, negative inside it."""
    outer = scipy.ndimage.distance_transform_edt(~inside, sampling=spacing)
    inner = scipy.ndimage.distance_transform_edt(inside, sampling=spacing)
    return np.asarray(outer - inner, dtype=np.float32)


def _read(kind: str) -> tuple[Floats, tuple[float, float, float]]:
    """One map of the template inside nilearn's package, and where its first voxel lies."""
    name = f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    packed = (_template_folder() / name).read_bytes()
    image = nib.Nifti1Image.from_bytes(gzip.decompress(packed))
    x, y, z = (float(v) for v in image.affine[:3, 3])
    return np.asarray(image.dataobj, dtype=np.float32), (x, y, z)


def _template_folder() -> Path:
    """Where nilearn keeps its data; found without importing it, which takes seconds."""
    spec = find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the phantom's anatomy comes with nilearn: install nilearn")
    return Path(spec.origin).parent / "datasets" / "data"


def _on_grid(
    mask: NDArray[np.bool_], first_mm: tuple[float, float, float], grid: SamplingGrid
) -> NDArray[np.bool_]:
    """A 1 mm mask at the points of the head's grid, False beyond its field of view."""
    found = np.zeros(grid.shape, dtype=bool)
    index = [
        np.rint(axis - first).astype(int) for axis, first in zip(grid.axes(), first_mm, strict=True)
    ]
    valid = [(i >= 0) & (i < n) for i, n in zip(index, mask.shape, strict=True)]
    inner = mask[np.ix_(*(i[v] for i, v in zip(index, valid, strict=True)))]
    found[np.ix_(*valid)] = inner
    return found


def _ball(
    axes: Axes, centre: tuple[float, float, float], radii: tuple[float, float, float]
) -> Floats:
    """Squared distance from a centre in units of the radii; mirrored left and right."""
    x, y, z = axes
    return np.asarray(
        ((np.abs(x[:, None, None]) - centre[0]) / radii[0]) ** 2
        + ((y[None, :, None] - centre[1]) / radii[1]) ** 2
        + ((z[None, None, :] - centre[2]) / radii[2]) ** 2,
        dtype=np.float32,
    )


def _draw_labels(axes: Axes, hull: Floats) -> NDArray[np.uint8]:
    """Face, neck and skull base: solids painted one over the other, later ones on top."""
    x, y, z = (
        a.reshape(s) for a, s in zip(axes, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True)
    )
    rng = np.random.default_rng(_TEXTURE_SEED)
    texture = SmoothField.random(rng, 9.0, 1.0).on(axes)
    coarse = SmoothField.random(rng, 16.0, 1.0).on(axes)
    neck_y = -38.0 + 0.12 * (z + 70.0)
    neck = (x / 56.0) ** 2 + ((y - neck_y) / 62.0) ** 2
    face = np.minimum(
        _ball(axes, (0, 36, -62), (68, 62, 78)), _ball(axes, (0, 28, -100), (56, 62, 52))
    )
    nose = _ball(axes, (0, 97, -62), (13, 16, 20))
    body = np.minimum(np.minimum(np.where(z < -40, neck, 9.0), face), nose)
    labels = np.full(hull.shape, AIR, dtype=np.uint8)
    inside = body < 1.0
    labels[inside] = SKIN
    labels[body < 0.92] = FAT
    deep = (body < 0.8) | (inside & (hull < 12))
    labels[deep] = MUSCLE
    labels[deep & (texture > 0.9)] = FAT
    labels[deep & (coarse > 0.9)] = BONE
    labels[deep & (coarse > 1.4)] = MARROW
    labels[deep & (texture < -1.7)] = AIR
    labels[_ball(axes, (26, 45, -62), (13, 17, 16)) < 1] = AIR
    labels[_ball(axes, (0, 50, -55), (11, 34, 24)) < 1] = AIR
    labels[(_ball(axes, (0, 50, -55), (11, 34, 24)) < 1) & (texture > 0.2)] = MUSCLE
    labels[_ball(axes, (0, 14, -36), (11, 12, 8)) < 1] = AIR
    labels[_ball(axes, (0, 2, -110), (9, 8, 48)) < 1] = AIR
    labels[_ball(axes, (54, -28, -52), (12, 16, 18)) < 1] = BONE
    labels[(_ball(axes, (54, -28, -52), (12, 16, 18)) < 1) & (texture > 0.3)] = AIR
    labels[_ball(axes, (33, 56, -38), (20, 24, 19)) < 1] = FAT
    labels[_ball(axes, (33, 66, -38), (12.5, 12.5, 12.5)) < 1] = EYE
    spine = (z < -68) & (z > -200)
    bend = x**2 + (y + 44.0 - 0.12 * (z + 72.0)) ** 2
    labels[spine & (bend < 17.0**2)] = BONE
    labels[spine & (bend < 14.0**2) & (texture > 0.0)] = MARROW
    labels[spine & (bend < 8.5**2)] = FLUID
    labels[spine & (bend < 5.5**2)] = CORD
    return labels
