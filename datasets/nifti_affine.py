"""Where the voxels of a file lie: its sform or qform in millimetres, checked.

The sform counts if its code is above 0, else the qform. An sform that no volume can have (zeros,
axes in one plane, numbers that are not finite) gives way to a qform, as in ITK. A file that stores
neither is refused: which way its axes point would be a guess, and a wrong one turns brains upside
down.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from datasets.errors import ScanError

MIN_SPACING_MM = 0.1
MAX_SPACING_MM = 20.0
MAX_ORIGIN_MM = 10_000.0

_SHEAR_LIMIT = 0.9
_FLAT = 1e-6
_OBLIQUE_NOTE_DEG = 20.0
_DISAGREEMENT_NOTE_MM = 0.1

_SPACE_BITS = 7
_UNITS = {1: ("metres", 1e3), 3: ("micrometres", 1e-3)}
"""By ``xyzt_units``: a unit's name, and how many millimetres it has. All else is millimetres: 2
says so, 0 says nothing, and no other number stands for a length."""

Affine = NDArray[np.float64]


def stored_affine(
    header: Any, shape: tuple[int, int, int], path: Path
) -> tuple[Affine, Affine | None, tuple[str, ...]]:
    """The affine of the stored axes in mm, and the qform with a note if it disagrees.

    Args:
        header: A nibabel header of a NIfTI file.
        shape: Voxels along the stored axes.
        path: The file, for messages.

    Raises:
        ScanError: If it stores no orientation, or none that a head can have.
    """
    affine, other, notes = _chosen(header, path)
    factor, unit_notes = _millimetres(header, affine)
    affine, other = _scaled(affine, factor), None if other is None else _scaled(other, factor)
    check_affine(affine, path)
    if other is not None:
        shift_mm = largest_shift_mm(affine, other, shape)
        if shift_mm <= _DISAGREEMENT_NOTE_MM:
            other = None
        else:
            notes = (f"sform and qform disagree by {shift_mm:.1f} mm; the sform is used",)
    return affine, other, (*notes, *unit_notes)


def check_affine(affine: Affine, path: Path) -> None:
    """Refuse an affine in mm that is no head's.

    Raises:
        ScanError: If it is not finite, or its voxels, angles or origin are beyond the limits.
    """
    if not np.isfinite(affine).all():
        raise ScanError(f"{path} has an affine that is not finite")
    if not _is_plausible(affine):
        with np.errstate(all="ignore"):
            sizes = " x ".join(f"{s:.3g}" for s in np.linalg.norm(affine[:3, :3], axis=0))
        raise ScanError(
            f"{path} has voxels of {sizes} mm; {MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm is read"
        )
    if shear_factor(affine) < _SHEAR_LIMIT:
        raise ScanError(f"{path} has an affine whose axes are far from right angles")
    if np.abs(affine[:3, 3]).max() > MAX_ORIGIN_MM:
        raise ScanError(f"{path} has an affine whose origin lies more than 10 m away")


def shear_factor(affine: Affine) -> float:
    """The volume of a voxel over the product of its sides: 1 if its axes are at right angles.

    To a millionth: what single precision makes of right angles is no shear.
    """
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    return round(abs(float(np.linalg.det(affine[:3, :3] / sides))), 6)


def largest_shift_mm(one: Affine, other: Affine, shape: tuple[int, int, int]) -> float:
    """The farthest that any voxel of a grid lies apart under two affines: at one of its corners."""
    corners = np.array([(*c, 1) for c in product(*((0, n - 1) for n in shape))], dtype=float)
    return float(np.linalg.norm(corners @ (one - other).T[:, :3], axis=1).max())


def oblique(affine: Affine) -> tuple[str, ...]:
    """A note if the axes are far from the directions of the body."""
    cosines = np.diag(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    angle = float(np.degrees(np.arccos(np.clip(cosines, -1, 1)).max()))
    if angle <= _OBLIQUE_NOTE_DEG:
        return ()
    return (f"axes are up to {angle:.0f} degrees from right, anterior and superior",)


def _chosen(header: Any, path: Path) -> tuple[Affine, Affine | None, tuple[str, ...]]:
    """The affine that counts, and the qform if it does not, both in the file's own unit."""
    sform = None
    if int(header["sform_code"]) > 0:
        sform = np.asarray(header.get_sform(), dtype=np.float64)
    qform, problem = _qform(header) if int(header["qform_code"]) > 0 else (None, None)
    if sform is not None and qform is not None and (fault := _degenerate(sform)):
        return qform, None, (f"the sform {fault}; the qform is used",)
    if sform is not None:
        notes = () if problem is None else (f"the qform is invalid ({problem}); the sform is used",)
        return sform, qform, notes
    if qform is not None:
        return qform, None, ()
    if problem is not None:
        raise ScanError(f"{path} has no sform and an invalid qform: {problem}")
    raise ScanError(
        f"{path} stores no orientation: one of sform_code and qform_code must be above 0"
    )


def _degenerate(sform: Affine) -> str | None:
    """Why an sform is one of no volume at all, if it is."""
    if not np.isfinite(sform).all():
        return "is not finite"
    if not sform[:3, :3].any():
        return "is empty"
    with np.errstate(all="ignore"):
        volume = float(np.linalg.det(sform[:3, :3] / np.linalg.norm(sform[:3, :3], axis=0)))
    return None if abs(volume) >= _FLAT else "is singular"


def _millimetres(header: Any, affine: Affine) -> tuple[float, tuple[str, ...]]:
    """How many mm the file's unit of length has, and a note unless it is the millimetre.

    A unit in which no head is that large was set by mistake: no voxel size can be meant in two.
    """
    unit = _UNITS.get(int(header["xyzt_units"]) & _SPACE_BITS)
    if unit is None or not np.isfinite(affine).all():
        return 1.0, ()
    name, factor = unit
    if _is_plausible(affine) and not _is_plausible(affine * factor):
        return 1.0, (f"its unit of length is said to be {name}, and can only be millimetres",)
    return factor, (f"its lengths are in {name}, and were converted to millimetres",)


def _scaled(affine: Affine, factor: float) -> Affine:
    scaled = affine.copy()
    with np.errstate(all="ignore"):
        scaled[:3] *= factor
    return scaled


def _is_plausible(affine: Affine) -> bool:
    with np.errstate(all="ignore"):
        sides = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(((sides >= MIN_SPACING_MM) & (sides <= MAX_SPACING_MM)).all())


def _qform(header: Any) -> tuple[Affine | None, str | None]:
    header = header.copy()
    if float(header["pixdim"][0]) == 0:
        header["pixdim"][0] = 1  # the standard: 0 counts as 1
    try:
        with np.errstate(all="ignore"):
            qform = np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        return None, str(error)
    return (qform, None) if np.isfinite(qform).all() else (None, "it is not finite")
