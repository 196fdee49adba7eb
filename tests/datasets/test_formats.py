"""FreeSurfer's MGH, and pairs of NIfTI and Analyze: read as nibabel reads them, or refused."""

from __future__ import annotations

import gzip
import shutil
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.freesurfer import MGHImage

from datasets.checksums import ChecksumCache, scan_checksums
from datasets.errors import ScanError
from datasets.formats import files_of, header_suffix, image_suffix
from datasets.nifti import load_mask, load_volume
from datasets.scan import Scan
from datasets.settings import PreprocessSettings
from datasets.shards import process_scan, read_slices
from datasets.sources import bids, brats
from datasets.storage import Storage
from tests.volumes import SHAPE, values

OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.1, 0.2, 0.05) @ np.diag([2.0, -1.5, 3.0]), (-10, 20, 5)
)
KINDS: dict[str, Callable[..., nib.spatialimages.SpatialImage]] = {
    "scan.mgz": MGHImage,
    "scan.mgh": MGHImage,
    "scan.img": nib.Nifti1Pair,
    "scan.img.gz": nib.Nifti1Pair,
    "scan2.img": nib.Nifti2Pair,
    "analyze.img": nib.AnalyzeImage,
    "analyze.img.gz": nib.AnalyzeImage,
    "spm99.img": nib.Spm99AnalyzeImage,
}
LAS_NOTE = "Analyze stores no orientation: its axes are taken to run to left, anterior and superior"


def write(path: Path, data: np.ndarray, affine: np.ndarray = OBLIQUE) -> Path:
    """An image of the kind that a name stands for; Analyze has no place for an affine."""
    kind = KINDS[path.name]
    if kind in (nib.AnalyzeImage, nib.Spm99AnalyzeImage):
        image = kind(data, None)
        image.header.set_zooms((2.0, 1.5, 3.0))
        image.set_data_dtype(data.dtype)
        image.to_filename(path)
        path.with_name(path.name.split(".")[0] + ".mat").unlink(missing_ok=True)
    else:
        kind(data, affine).to_filename(path)
    return path


def by_nibabel(path: Path) -> nib.spatialimages.SpatialImage:
    if path.suffix == ".mgh":  # nibabel leaves these files open
        return MGHImage.from_bytes(path.read_bytes())
    return nib.load(path)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("name", KINDS)
def test_the_same_voxels_lie_where_nibabel_puts_them(name: str, dtype: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, values(dtype))
    theirs = nib.as_closest_canonical(by_nibabel(path))
    ours = load_volume(path)
    np.testing.assert_array_equal(ours.data_XYZ, theirs.get_fdata())
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    assert ours.spacing_mm == pytest.approx((2.0, 1.5, 3.0), abs=1e-5)
    analyze = name.startswith(("analyze", "spm"))
    assert ours.notes == ((LAS_NOTE,) if analyze else ())


def test_the_origin_that_spm_stores_in_analyze_is_used(tmp_path: Path) -> None:
    path = write(tmp_path / "spm99.img", values())
    header = path.with_suffix(".hdr")
    raw = bytearray(header.read_bytes())
    raw[253:259] = struct.pack("<3h", 2, 3, 4)
    header.write_bytes(raw)
    # The origin's voxels count from 1, and x is stored from the right.
    np.testing.assert_allclose(
        load_volume(path).affine[:3, 3], [-2.0 * (SHAPE[0] - 2), -1.5 * 2, -3.0 * 3]
    )


@pytest.mark.parametrize("name", KINDS)
def test_masks_of_every_format_lie_on_images_of_every_format(name: str, tmp_path: Path) -> None:
    marked = np.zeros(SHAPE, np.uint8)
    marked[2:4, 1:3, 4:6] = 1
    mask = write(tmp_path / name, marked)
    image = tmp_path / "image.nii"
    stored = by_nibabel(mask)
    nib.Nifti1Image(values(), stored.affine).to_filename(image)
    volume = load_volume(image)
    placed, _ = load_mask(mask, volume, image)
    theirs = nib.as_closest_canonical(nib.Nifti1Image(marked, stored.affine)).get_fdata()
    np.testing.assert_array_equal(placed, theirs > 0)


def spoilt(path: Path, at: int, patch: bytes) -> Path:
    """A file, unpacked or packed, with some bytes changed."""
    raw = path.read_bytes()
    packed = raw[:2] == b"\x1f\x8b"
    data = bytearray(gzip.decompress(raw) if packed else raw)
    data[at : at + len(patch)] = patch
    path.write_bytes(gzip.compress(bytes(data)) if packed else bytes(data))
    return path


MGH_FAULTS = [
    (4, struct.pack(">3i", 30_000, 30_000, 30_000), "to 1024"),
    (4, struct.pack(">3i", -6, 7, 8), "a side must have"),
    (4, struct.pack(">3i", 2**31 - 1, 7, 8), "to 1024"),
    (4, struct.pack(">3i", 640, 640, 600), "truncated"),
    (16, struct.pack(">i", 3), "holds 3 volumes"),
    (20, struct.pack(">i", 2), "stores the data type 2 of MGH"),
    (28, struct.pack(">h", 0), "stores no orientation"),
    (30, struct.pack(">f", np.nan), "not finite"),
    (30, struct.pack(">f", 0), "has voxels of 0 x"),
    (42, struct.pack(">9f", *[0.5] * 9), "far from right angles"),
    (0, struct.pack(">i", 2), "is no NIfTI file"),
]


@pytest.mark.parametrize("name", ["scan.mgz", "scan.mgh"])
@pytest.mark.parametrize(("at", "patch", "message"), MGH_FAULTS)
def test_a_hostile_header_of_mgh_is_refused_at_no_cost(
    name: str, at: int, patch: bytes, message: str, tmp_path: Path
) -> None:
    path = spoilt(write(tmp_path / name, values()), at, patch)
    assert message in refusal(path)


PAIR_FAULTS = [
    (42, struct.pack("<3h", 30_000, 30_000, 30_000), "to 1024"),
    (42, struct.pack("<3h", 640, 640, 600), "truncated"),
    (40, struct.pack("<h", 9), "9 dimensions"),
    (46, struct.pack("<h", -8), "a side must have"),
    (70, struct.pack("<h", 128), "RGB colours"),
    (70, struct.pack("<h", 99), "unknown data type 99"),
    (108, struct.pack("<f", -400), "puts its voxels at byte -400"),
    (108, struct.pack("<f", np.nan), "puts its voxels at byte nan"),
    (108, struct.pack("<f", 100), "truncated"),
    (0, b"\x89PNG", "is no header of a NIfTI or Analyze pair"),
]


@pytest.mark.parametrize("name", ["scan.img", "scan.img.gz", "analyze.img"])
@pytest.mark.parametrize(("at", "patch", "message"), PAIR_FAULTS)
def test_a_hostile_header_of_a_pair_is_refused_at_no_cost(
    name: str, at: int, patch: bytes, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / name, values())
    spoilt(files_of(path)[1], at, patch)
    assert message in refusal(path)


@pytest.mark.parametrize("name", ["scan.mgh", "scan.img", "scan2.img", "analyze.img"])
def test_damaged_headers_end_in_a_volume_or_in_a_sentence(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    path = write(tmp_path / name, values())
    whole = files_of(path)[-1].read_bytes()
    outcome = {True: 0, False: 0}
    for _ in range(400):
        raw = bytearray(whole)
        for _ in range(rng.integers(1, 12)):
            raw[rng.integers(0, min(len(raw), 348))] = rng.integers(0, 256)
        files_of(path)[-1].write_bytes(raw)
        try:
            volume = load_volume(path)
        except ScanError:
            outcome[False] += 1
            continue
        assert np.isfinite(volume.data_XYZ).all()
        assert np.isfinite(volume.affine).all()
        outcome[True] += 1
    assert min(outcome.values()) > 10


def refusal(path: Path) -> str:
    tracemalloc.start()
    try:
        with pytest.raises(ScanError) as caught:
            load_volume(path)
        assert tracemalloc.get_traced_memory()[1] < 2**21
    finally:
        tracemalloc.stop()
    assert str(path.parent) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_truncated_voxels_are_refused(name: str, keep: float, tmp_path: Path) -> None:
    path = write(tmp_path / name, values())
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises(ScanError, match="truncated"):
        load_volume(path)


@pytest.mark.parametrize("orient", [1, 2, 3, 4, 5, 255])
def test_analyze_with_other_than_transverse_slices_is_refused(orient: int, tmp_path: Path) -> None:
    path = write(tmp_path / "analyze.img", values())
    spoilt(path.with_suffix(".hdr"), 252, bytes([orient]))
    assert "only transverse ones are read" in refusal(path)


def test_half_a_pair_is_refused_with_the_name_of_the_other(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.img", values())
    with pytest.raises(ScanError, match="is the header of a pair"):
        load_volume(tmp_path / "scan.hdr")
    (tmp_path / "scan.hdr").unlink()
    with pytest.raises(ScanError, match=r"scan\.hdr does not exist"):
        load_volume(path)


@pytest.mark.parametrize(
    ("image", "header"),
    [("a.img", "a.hdr"), ("a.img.gz", "a.hdr.gz"), ("a.img", "a.hdr.gz"), ("a.img.gz", "a.hdr")],
)
def test_either_file_of_a_pair_may_be_packed(image: str, header: str, tmp_path: Path) -> None:
    write(tmp_path / "scan.img", values())
    for source, target in (("scan.img", image), ("scan.hdr", header)):
        raw = (tmp_path / source).read_bytes()
        (tmp_path / target).write_bytes(gzip.compress(raw) if target.endswith(".gz") else raw)
    assert files_of(tmp_path / image) == (tmp_path / image, tmp_path / header)
    np.testing.assert_array_equal(
        load_volume(tmp_path / image).data_XYZ, load_volume(tmp_path / "scan.img").data_XYZ
    )


@pytest.mark.parametrize(
    ("name", "suffix", "header"),
    [
        ("a.nii", ".nii", ""),
        ("a.NII.GZ", ".NII.GZ", ""),
        ("a.b.mgz", ".mgz", ""),
        ("a.img.gz", ".img.gz", ""),
        ("a.hdr", "", ".hdr"),
        ("a.hdr.gz", "", ".hdr.gz"),
        (".nii", "", ""),
        ("a.nii.txt", "", ""),
        ("a.json", "", ""),
    ],
)
def test_a_name_says_what_a_file_is(name: str, suffix: str, header: str) -> None:
    assert image_suffix(name) == suffix
    assert header_suffix(name) == header


def test_sources_find_every_format_and_a_pair_once(tmp_path: Path) -> None:
    for number, name in enumerate(KINDS):
        anat = tmp_path / f"sub-{number}" / "anat"
        anat.mkdir(parents=True)
        write(tmp_path / name, values())
        for file in files_of(tmp_path / name):
            suffix = image_suffix(file.name) or header_suffix(file.name)
            shutil.copy(file, anat / f"sub-{number}_T1w{suffix}")
    listing = bids.list_scans(tmp_path, ("T1w",))
    assert [scan.subject for scan in listing.scans] == [str(n) for n in range(len(KINDS))]
    assert {image_suffix(scan.image.name) for scan in listing.scans} == {
        ".mgz", ".mgh", ".img", ".img.gz",
    }  # fmt: skip
    (tmp_path / "sub-2" / "anat" / "sub-2_T1w.hdr").unlink()
    listing = bids.list_scans(tmp_path, ("T1w",))
    assert len(listing.scans) == len(KINDS) - 1
    assert [s.reason for s in listing.skipped if s.path.suffix == ".img" and "sub-2" in str(s)] == [
        "half of a pair: no sub-2_T1w.hdr beside it"
    ]


def test_brats_may_lie_there_as_pairs(tmp_path: Path) -> None:
    (tmp_path / "CASE").mkdir()
    write(tmp_path / "scan.img", values())
    for kind in ("t1", "t2", "seg"):
        for ending in (".img", ".hdr"):
            shutil.copy(tmp_path / f"scan{ending}", tmp_path / "CASE" / f"CASE_{kind}{ending}")
    listing = brats.list_scans(tmp_path, ("T1w", "T2w"))
    assert [scan.image.name for scan in listing.scans] == ["CASE_t1.img", "CASE_t2.img"]
    assert [m.name for scan in listing.scans for m in scan.lesion_masks] == ["CASE_seg.img"] * 2


def test_the_checksum_of_a_pair_is_of_both_files(tmp_path: Path) -> None:
    path = write(tmp_path / "scan.img", values())
    scan = Scan("1", "", "T1w", path)
    first = scan_checksums(scan, ChecksumCache())[path]
    for file in (path, path.with_suffix(".hdr")):
        raw = file.read_bytes()
        file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        assert scan_checksums(scan, ChecksumCache())[path] != first
        file.write_bytes(raw)
        assert scan_checksums(scan, ChecksumCache())[path] == first
    path.with_suffix(".hdr").unlink()
    assert scan_checksums(scan)[path] == "unreadable: ENOENT"


@pytest.mark.parametrize("name", ["scan.mgz", "scan.img.gz", "analyze.img"])
def test_slices_are_those_of_the_same_scan_as_nifti(name: str, tmp_path: Path) -> None:
    index = np.indices((22, 24, 26)) - np.array([10.5, 11.5, 12.5])[:, None, None, None]
    rng = np.random.default_rng(0)
    head = np.where((index**2).sum(axis=0) < 90, rng.integers(90, 200, (22, 24, 26)), 0)
    data = head.astype(np.int16)
    path = tmp_path / name
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    if name.startswith("analyze"):
        image = nib.AnalyzeImage(data, None)
        image.header.set_zooms((8.0, 8.0, 8.0))
        image.set_data_dtype(np.int16)
        image.to_filename(path)
        affine = nib.load(path).affine
    else:
        KINDS[name](data, affine).to_filename(path)
    nib.Nifti1Image(data, affine).to_filename(tmp_path / "same.nii.gz")
    storage = Storage.open(str(tmp_path / "store"))
    found = []
    for number, image_path in enumerate((path, tmp_path / "same.nii.gz")):
        scan = Scan("1", "", "T1w", image_path, stripped=True)
        record = process_scan(scan, "c", "train", PreprocessSettings(), f"{number:020d}", storage)
        assert record.status == "ok", record.reason
        found.append(read_slices(storage, record))
    np.testing.assert_array_equal(found[0].images_NHW, found[1].images_NHW)
    np.testing.assert_array_equal(found[0].brain_bits_NK, found[1].brain_bits_NK)
