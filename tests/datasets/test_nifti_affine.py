"""Units, empty sforms and sheared axes: where voxels lie, and how large they are."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.checksums import scan_checksums, scan_key
from datasets.errors import ScanError
from datasets.nifti import load_mask, load_volume
from datasets.scan import Scan
from datasets.settings import PreprocessSettings
from datasets.shards import process_scan
from datasets.storage import Storage
from tests.volumes import AFFINE, SHAPE, values

UNIT_AT, CODES_AT, SFORM_AT = 123, 252, 280
PER_MM = {1: 1e-3, 2: 1.0, 3: 1e3}


def in_unit(path: Path, code: int, factor: float, *, by: str = "sform") -> Path:
    """An image whose affine is given in another unit."""
    affine = np.diag([factor, factor, factor, 1.0]) @ AFFINE
    image = nib.Nifti1Image(values(), None)
    image.set_sform(affine, 2 if by == "sform" else 0)
    image.set_qform(affine, 0 if by == "sform" else 1)
    raw = bytearray(image.to_bytes())
    raw[UNIT_AT] = code
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("by", ["sform", "qform"])
@pytest.mark.parametrize(("code", "name"), [(1, "metres"), (3, "micrometres")])
def test_metres_and_micrometres_become_millimetres_with_a_note(
    code: int, name: str, by: str, tmp_path: Path
) -> None:
    volume = load_volume(in_unit(tmp_path / "a.nii", code | 8, PER_MM[code], by=by))
    assert volume.spacing_mm == (2.0, 1.5, 3.0)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)
    assert volume.notes == (f"its lengths are in {name}, and were converted to millimetres",)


@pytest.mark.parametrize("code", [0, 2, 2 | 8, 8, 4, 7])
def test_millimetres_said_or_not_said_are_read_as_they_are(code: int, tmp_path: Path) -> None:
    volume = load_volume(in_unit(tmp_path / "a.nii", code, 1.0))
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert volume.notes == ()


@pytest.mark.parametrize(("code", "name"), [(1, "metres"), (3, "micrometres")])
def test_a_unit_in_which_no_head_is_that_large_is_not_believed(
    code: int, name: str, tmp_path: Path
) -> None:
    volume = load_volume(in_unit(tmp_path / "a.nii", code, 1.0))
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert volume.notes == (
        f"its unit of length is said to be {name}, and can only be millimetres",
    )


def test_a_mask_in_another_unit_lies_on_its_image(tmp_path: Path) -> None:
    image = in_unit(tmp_path / "image.nii", 2, 1.0)
    mask = (values() > 90).astype(np.uint8)
    affine = np.diag([1e-3, 1e-3, 1e-3, 1.0]) @ AFFINE
    raw = bytearray(nib.Nifti1Image(mask, affine).to_bytes())
    raw[UNIT_AT] = 1
    (tmp_path / "mask.nii").write_bytes(raw)
    placed, notes = load_mask(tmp_path / "mask.nii", load_volume(image), image)
    np.testing.assert_array_equal(placed, mask > 0)
    assert notes == ("its lengths are in metres, and were converted to millimetres",)


FLAT = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0]], dtype=float)
ONE_EMPTY = np.array([[1, 0, 0, 5], [0, 1, 0, 5], [0, 0, 0, 5]], dtype=float)
USELESS = {
    "is empty": np.zeros((3, 4)),
    "is singular": FLAT,
    "is singular ": ONE_EMPTY,
    "is not finite": np.full((3, 4), np.nan),
}


@pytest.mark.parametrize("fault", USELESS)
@pytest.mark.parametrize("has_qform", [True, False])
def test_a_useless_sform_gives_way_to_a_qform(fault: str, has_qform: bool, tmp_path: Path) -> None:
    image = nib.Nifti1Image(values(), None)
    image.set_qform(AFFINE, 1)
    raw = bytearray(image.to_bytes())
    raw[CODES_AT : CODES_AT + 4] = struct.pack("<2h", int(has_qform), 1)
    raw[SFORM_AT : SFORM_AT + 48] = USELESS[fault].astype("<f4").tobytes()
    path = tmp_path / "a.nii"
    path.write_bytes(raw)
    if not has_qform:
        with pytest.raises(ScanError, match=r"a\.nii has (voxels of|an affine)"):
            load_volume(path)
        return
    volume = load_volume(path)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-5)
    assert volume.notes == (f"the sform {fault.strip()}; the qform is used",)
    assert volume.other_affine is None


def test_an_implausible_sform_does_not_give_way(tmp_path: Path) -> None:
    image = nib.Nifti1Image(values(), None)
    image.set_qform(AFFINE, 1)
    image.set_sform(np.diag([25.0, 25.0, 25.0, 1.0]), 1)
    image.to_filename(tmp_path / "a.nii")
    with pytest.raises(ScanError, match="voxels of 25 x 25 x 25 mm"):
        load_volume(tmp_path / "a.nii")


def head(shear: float) -> tuple[NDArray[np.int16], NDArray[np.bool_], NDArray[np.float64]]:
    """A stripped ball of a brain in voxels of 8 mm, its brain, and a sheared affine."""
    rng = np.random.default_rng(0)
    index = np.indices((24, 24, 24)) - 11.5
    brain = (index**2).sum(axis=0) < 9.0**2
    data = np.where(brain, rng.integers(200, 400, brain.shape), 0).astype(np.int16)
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    affine[0, 1] = shear * 8.0
    return data, brain, affine


@pytest.mark.parametrize("shear", [0.0, 0.2, 0.3])
def test_volumes_are_those_of_the_parallelepiped_that_a_voxel_is(
    shear: float, tmp_path: Path
) -> None:
    data, brain, affine = head(shear)
    lesion = np.zeros(brain.shape, np.uint8)
    lesion[10:13, 10:13, 10:13] = 1
    image, mask = tmp_path / "image.nii", tmp_path / "mask.nii"
    nib.Nifti1Image(data, affine).to_filename(image)
    nib.Nifti1Image(lesion, affine).to_filename(mask)
    scan = Scan("1", "", "T1w", image, (mask,), stripped=True)
    key = scan_key(scan, "c", "test", PreprocessSettings(), scan_checksums(scan))
    storage = Storage.open(str(tmp_path / "store"))
    record = process_scan(scan, "c", "test", PreprocessSettings(), key, storage)
    assert record.status == "ok", record.reason
    assert record.lesion_volume_ml == pytest.approx(27 * 8**3 / 1000, rel=1e-6)
    assert record.brain_volume_ml == pytest.approx(brain.sum() * 8**3 / 1000, rel=1e-6)


def test_rounded_right_angles_change_no_volume(tmp_path: Path) -> None:
    angle = np.radians(13.7)
    affine = AFFINE.copy()
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[1:3, 1:3] = np.array(turn) @ affine[1:3, 1:3]
    nib.Nifti1Image(values(), affine).to_filename(tmp_path / "a.nii")
    volume = load_volume(tmp_path / "a.nii")
    assert volume.voxel_mm3 == np.prod(volume.spacing_mm)
    assert volume.data_XYZ.shape == SHAPE
