from __future__ import annotations

import errno
import gzip
import os
import struct
import tempfile
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.errors import ScanError
from datasets.nifti import check_header, load_volume
from tests.volumes import AFFINE, SHAPE, save, values


def plain(path: Path, data: NDArray[np.generic] | None = None) -> bytearray:
    """The bytes of an unpacked file, to be spoilt."""
    return bytearray(save(path, values() if data is None else data).read_bytes())


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    "dtype",
    ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i2", ">f4", ">f8"],
)
def test_every_real_type_arrives_as_the_same_float32(tmp_path: Path, name: str, dtype: str) -> None:
    data = values(dtype)
    header = nib.Nifti1Header(endianness=data.dtype.newbyteorder(">").byteorder)
    if np.dtype(dtype).byteorder != ">":
        header = nib.Nifti1Header()
    nib.Nifti1Image(data, AFFINE, header, dtype=data.dtype).to_filename(tmp_path / name)
    volume = load_volume(tmp_path / name)
    assert check_header(tmp_path / name).dtype == np.dtype(dtype)
    assert volume.data_XYZ.dtype == np.float32
    assert volume.data_XYZ.flags.c_contiguous
    np.testing.assert_array_equal(volume.data_XYZ, values("float32"))
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert volume.spacing_mm == (2.0, 1.5, 3.0)
    assert volume.notes == ()


def test_scaling_is_applied(tmp_path: Path) -> None:
    raw = plain(tmp_path / "a.nii")
    raw[112:120] = struct.pack("<ff", 0.25, -3.0)
    (tmp_path / "a.nii").write_bytes(raw)
    loaded = load_volume(tmp_path / "a.nii").data_XYZ
    np.testing.assert_array_equal(loaded, values("float32") * 0.25 - 3)
    assert loaded.min() < 0


@pytest.mark.parametrize("slope", [0.0, float("nan")])
def test_no_slope_means_values_as_stored(tmp_path: Path, slope: float) -> None:
    raw = plain(tmp_path / "a.nii")
    raw[112:120] = struct.pack("<ff", slope, 5.0)
    (tmp_path / "a.nii").write_bytes(raw)
    np.testing.assert_array_equal(load_volume(tmp_path / "a.nii").data_XYZ, values("float32"))


def test_name_does_not_decide_how_a_file_is_read(tmp_path: Path) -> None:
    packed = save(tmp_path / "a.nii.gz", values()).read_bytes()
    (tmp_path / "B.NII.GZ").write_bytes(packed)
    (tmp_path / "c.nii").write_bytes(packed)
    (tmp_path / "d.nii.gz").write_bytes(gzip.decompress(packed))
    for name in ("B.NII.GZ", "c.nii", "d.nii.gz"):
        np.testing.assert_array_equal(load_volume(tmp_path / name).data_XYZ, values("float32"))


def test_nifti_2_is_read(tmp_path: Path) -> None:
    nib.Nifti2Image(values(), AFFINE).to_filename(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(load_volume(tmp_path / "a.nii.gz").data_XYZ, values("float32"))


def test_header_extensions_are_stepped_over(tmp_path: Path) -> None:
    image = nib.Nifti1Image(values(), AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 100))
    image.to_filename(tmp_path / "a.nii.gz")
    assert check_header(tmp_path / "a.nii.gz").offset > 352
    np.testing.assert_array_equal(load_volume(tmp_path / "a.nii.gz").data_XYZ, values("float32"))


def test_four_dimensions_with_one_volume_are_a_volume(tmp_path: Path) -> None:
    save(tmp_path / "one.nii.gz", values()[..., None])
    np.testing.assert_array_equal(load_volume(tmp_path / "one.nii.gz").data_XYZ, values("float32"))
    save(tmp_path / "three.nii.gz", np.stack([values()] * 3, axis=-1))
    with pytest.raises(ScanError, match=r"three\.nii\.gz holds 3 volumes"):
        load_volume(tmp_path / "three.nii.gz")


@pytest.mark.parametrize("dim", [(4, 0, 1), (5, 1, 0), (5, 0, 0), (7, 0, 1)])
def test_a_further_dimension_of_size_0_counts_as_1(
    dim: tuple[int, int, int], tmp_path: Path
) -> None:
    path = patched(tmp_path / "a.nii", 40, struct.pack("<8h", dim[0], *SHAPE, *dim[1:], 1, 1))
    volume = load_volume(path)
    np.testing.assert_array_equal(volume.data_XYZ, values("float32"))
    assert len(volume.notes) == 1
    assert volume.notes[0].endswith("0 counts as 1")
    path.write_bytes(path.read_bytes()[:-1])  # nothing of the volume may be missing
    with pytest.raises(ScanError, match="truncated"):
        load_volume(path)


def test_a_first_dimension_of_size_0_is_no_volume(tmp_path: Path) -> None:
    path = patched(tmp_path / "a.nii", 40, struct.pack("<8h", 4, 6, 7, 0, 0, 1, 1, 1))
    with pytest.raises(ScanError, match="6 x 7 x 0 voxels"):
        load_volume(path)


def test_non_finite_voxels_become_zero_and_are_counted(tmp_path: Path) -> None:
    data = values("float32") - 50
    data[0, 0, :3] = (np.nan, np.inf, -np.inf)
    volume = load_volume(save(tmp_path / "a.nii", data))
    assert volume.notes == ("3 voxels are NaN or infinite and count as 0",)
    np.testing.assert_array_equal(volume.data_XYZ[0, 0, :3], 0)
    np.testing.assert_array_equal(volume.data_XYZ[1:], data[1:])
    assert volume.data_XYZ.min() < 0


def test_background_of_nan_is_accepted_and_almost_nothing_else_is_not(tmp_path: Path) -> None:
    data = values("float64") + 1
    data[:4] = np.nan
    assert load_volume(save(tmp_path / "spm.nii", data)).data_XYZ[:4].any() == np.False_
    data[:] = np.nan
    data[0, 0, :3] = range(3)
    with pytest.raises(ScanError, match="voxels not finite"):
        load_volume(save(tmp_path / "nan.nii", data))


def test_float64_beyond_float32_counts_as_not_finite(tmp_path: Path) -> None:
    data = values("float64")
    data[0, 0, 0] = 1e300
    volume = load_volume(save(tmp_path / "a.nii", data))
    assert volume.data_XYZ[0, 0, 0] == 0
    assert volume.notes[0].startswith("1 voxels")


@pytest.mark.parametrize("value", [0, 7])
def test_constant_image_is_refused(tmp_path: Path, value: int) -> None:
    save(tmp_path / "a.nii.gz", np.full(SHAPE, value, np.int16))
    with pytest.raises(ScanError, match=f"has the value {value} in every voxel"):
        load_volume(tmp_path / "a.nii.gz")


def test_colours_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    rgb = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.Nifti1Image(rgb, AFFINE).to_filename(tmp_path / "rgb.nii.gz")
    nib.Nifti1Image(values("complex64"), AFFINE).to_filename(tmp_path / "complex.nii.gz")
    with pytest.raises(ScanError, match=r"rgb\.nii\.gz stores RGB colours"):
        load_volume(tmp_path / "rgb.nii.gz")
    with pytest.raises(ScanError, match="stores complex numbers; integers and floats"):
        load_volume(tmp_path / "complex.nii.gz")


def patched(path: Path, at: int, patch: bytes) -> Path:
    raw = plain(path)
    raw[at : at + len(patch)] = patch
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize(
    ("at", "patch", "message"),
    [
        pytest.param(0, b"\x89PNG\r\n\x1a\n", "is no NIfTI file", id="png"),
        pytest.param(344, b"ni1\0", "half of a .hdr/.img pair", id="pair"),
        pytest.param(344, b"\0\0\0\0", "is no NIfTI file", id="analyze"),
        pytest.param(40, struct.pack("<8h", 2, 6, 56, 1, 1, 1, 1, 1), "is no volume", id="2d"),
        pytest.param(40, struct.pack("<h", 0), "0 dimensions", id="0d"),
        pytest.param(40, struct.pack("<h", 9), "9 dimensions", id="9d"),
        pytest.param(42, struct.pack("<3h", 6, -7, 8), "6 x -7 x 8 voxels; a side", id="negative"),
        pytest.param(42, struct.pack("<3h", 6, 7, 1), "a side must have 4", id="slice"),
        pytest.param(42, struct.pack("<3h", 2000, 7, 8), "to 1024", id="long"),
        pytest.param(42, struct.pack("<3h", 1024, 1024, 1024), "are not read", id="large"),
        pytest.param(42, struct.pack("<3h", 64, 64, 64), "is truncated: it has", id="promise"),
        pytest.param(70, struct.pack("<h", 77), "stores the unknown data type 77", id="dtype"),
        pytest.param(108, struct.pack("<f", 10), "its voxels at byte 10", id="offset"),
        pytest.param(108, struct.pack("<f", 1e12), "its voxels at byte 1e", id="far-offset"),
        pytest.param(108, struct.pack("<f", np.nan), "its voxels at byte nan", id="nan-offset"),
        pytest.param(112, struct.pack("<f", np.inf), "by slope inf", id="slope"),
        pytest.param(252, struct.pack("<hh", 0, 0), "stores no orientation", id="no-orientation"),
        pytest.param(280, struct.pack("<f", np.nan), "affine that is not finite", id="nan-affine"),
        pytest.param(280, struct.pack("<f", 0.01), "has voxels of 0.01", id="tiny-voxels"),
        pytest.param(280, struct.pack("<f", 25), "has voxels of 25", id="huge-voxels"),
        pytest.param(284, struct.pack("<f", 3), "far from right angles", id="shear"),
        pytest.param(292, struct.pack("<f", 1e6), "more than 10 m away", id="origin"),
    ],
)
def test_wrong_header_is_refused_in_one_sentence(
    tmp_path: Path, at: int, patch: bytes, message: str
) -> None:
    path = patched(tmp_path / "bad.nii", at, patch)
    with pytest.raises(ScanError, match=r"bad\.nii ") as caught:
        load_volume(path)
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(path))
    assert "\n" not in text


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("side", [640, 30_000])
def test_header_that_claims_too_much_costs_nothing(tmp_path: Path, packed: bool, side: int) -> None:
    path = patched(tmp_path / "a.nii", 42, struct.pack("<3h", side, side, side))
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    tracemalloc.start()
    try:
        with pytest.raises(ScanError):
            load_volume(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    raw = bytes(plain(tmp_path / "a.nii")) + bytes(200_000_000)
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(raw, 1))
    del raw
    tracemalloc.start()
    try:
        with pytest.raises(ScanError, match=r"bomb\.nii\.gz holds more data than its header"):
            load_volume(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_plain_file_larger_than_its_promise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(bytes(plain(path)) + bytes(100_000))
    with pytest.raises(ScanError, match="don't match"):
        load_volume(path)


def test_loading_takes_the_memory_of_one_float32_copy(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 50, (96, 100, 104)).astype(np.float64)
    path = save(tmp_path / "a.nii.gz", data[::-1].transpose(2, 0, 1))
    tracemalloc.start()
    try:
        volume = load_volume(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * volume.data_XYZ.nbytes + 2**18


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.99])
def test_truncated_files_are_refused(tmp_path: Path, keep: float) -> None:
    for name in ("a.nii", "a.nii.gz"):
        raw = save(tmp_path / name, values()).read_bytes()
        (tmp_path / name).write_bytes(raw[: int(len(raw) * keep)])
        with pytest.raises(ScanError, match=r"truncated|no NIfTI file"):
            load_volume(tmp_path / name)


def test_checksum_of_a_packed_file_is_compared(tmp_path: Path) -> None:
    raw = gzip.compress(bytes(plain(tmp_path / "a.nii")), 0)  # stored: any byte may be changed
    spoilt = bytearray(raw)
    spoilt[len(raw) // 2] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(spoilt)
    with pytest.raises(ScanError, match=r"gzip file: .+ incorrect data check"):
        load_volume(tmp_path / "a.nii.gz")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.nii.gz").mkdir()
    (tmp_path / "empty.nii.gz").touch()
    (tmp_path / "link.nii.gz").symlink_to("missing")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    for name, message in {
        "folder": "is a folder",
        "empty": "is empty",
        "link": "is a link to a file that does not exist",
        "pipe": "is no regular file",
        "missing": "does not exist",
    }.items():
        with pytest.raises(ScanError, match=message):
            load_volume(tmp_path / f"{name}.nii.gz")


def test_file_without_read_permission_is_refused() -> None:
    root, nobody = os.geteuid() == 0, 65534
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = save(folder / "a.nii.gz", values())
        path.chmod(0)
        try:
            if root:
                os.seteuid(nobody)
            with pytest.raises(ScanError, match=r"a\.nii\.gz cannot be read: permission denied"):
                load_volume(path)
        finally:
            if root:
                os.seteuid(0)


def test_a_fault_of_the_disk_is_not_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "image.nii.gz", values())

    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr("datasets.nifti.open_stream", failing)
    with pytest.raises(OSError, match="Input/output error"):
        load_volume(path)


@pytest.mark.parametrize("level", range(1, 9))
def test_what_has_as_few_values_as_a_mask_is_no_image(level: int, tmp_path: Path) -> None:
    data = np.zeros((12, 12, 12), np.uint8)
    data[4:8, 4:8, 4:8] = 1
    for label in range(2, level + 1):
        data[label, label, label] = label
    path = save(tmp_path / "sub-1_T1w.nii", data)
    if level == 8:  # with the background nine values
        assert load_volume(path).data_XYZ.max() == 8
        return
    with pytest.raises(ScanError, match=f"no more than {level + 1} different values: a mask"):
        load_volume(path)


def test_an_image_of_few_values_by_its_scaling_is_none(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", values("int16"))
    with path.open("r+b") as stream:
        stream.seek(112)
        stream.write(struct.pack("<2f", 1e-30, 1e3))  # all that the file stores is lost in it
    with pytest.raises(ScanError, match="in every voxel"):
        load_volume(path)


@pytest.mark.parametrize(
    ("slope", "inter", "n_notes"),
    [(1e-40, 0, 1), (-1e30, 0, 1), (1, -1e20, 1), (1e-9, 0, 0), (4096, -1024, 0), (0, 0, 0)],
)
def test_scaling_that_no_scanner_writes_is_noted(
    slope: float, inter: float, n_notes: int, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.nii", values("int16"))
    with path.open("r+b") as stream:
        stream.seek(112)
        stream.write(struct.pack("<2f", slope, inter))
    notes = check_header(path).notes
    assert len(notes) == n_notes
    assert all(f"slope {float(np.float32(slope)):g}" in note for note in notes)


@pytest.mark.parametrize("name", ["four.nii", "four.nii.gz"])
def test_one_volume_of_several_is_read(tmp_path: Path, name: str) -> None:
    data = np.stack([values("int16") + 100 * k for k in range(4)], axis=-1)
    path = save(tmp_path / name, data)
    for volume in range(4):
        np.testing.assert_array_equal(load_volume(path, volume).data_XYZ, data[..., volume])
    with pytest.raises(ScanError, match="holds 4 volumes; a scan is a single one"):
        load_volume(path)
    with pytest.raises(ScanError, match="holds 4 volumes, and no number 4 from 0"):
        load_volume(path, 4)
    if name.endswith(".nii"):
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(ScanError, match="truncated"):
            load_volume(path, 0)


def test_volumes_in_two_dimensions_are_refused(tmp_path: Path) -> None:
    data = np.zeros((6, 7, 8, 2, 3), dtype=np.int16)
    with pytest.raises(ScanError, match=r"holds \[2, 3\] volumes"):
        load_volume(save(tmp_path / "five.nii", data), 0)
