"""One volume stored in every order and direction of its axes: the same slices, to the bit."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.checksums import scan_checksums, scan_key
from datasets.phantom import writer
from datasets.phantom.settings import PhantomOptions
from datasets.preprocess import to_volume
from datasets.scan import Scan
from datasets.settings import SIZE, PreprocessSettings
from datasets.shards import SliceColumns, process_scan, read_slices
from datasets.sources import phantom
from datasets.storage import Storage

SETTINGS = PreprocessSettings()
ORDERS = [
    np.array(list(zip(axes, flips, strict=True)), dtype=float)
    for axes in permutations(range(3))
    for flips in product((1, -1), repeat=3)
]
# Three voxel sizes, three numbers of voxels, an oblique and shifted grid: no two axes are alike.
SHAPE = (45, 60, 38)
SPACING = (4.0, 3.5, 4.5)


def affine() -> NDArray[np.float64]:
    a, b = np.radians(9), np.radians(-6)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    full = np.eye(4)
    full[:3, :3] = about_x @ about_z @ np.diag(SPACING)
    full[:3, 3] = (-91.5, -104.25, -77.75)
    return full


def ellipsoid(radii_mm: tuple[float, ...], centre_mm: tuple[float, ...]) -> NDArray[np.bool_]:
    index = np.indices(SHAPE)
    parts = zip(index, SHAPE, SPACING, radii_mm, centre_mm, strict=True)
    return np.asarray(sum((((i - (n - 1) / 2) * d - c) / r) ** 2 for i, n, d, r, c in parts) < 1)


BRAIN = ellipsoid((64, 82, 62), (1, 3, 4))
LESION = ellipsoid((14, 18, 11), (-35, 20, 14))


def store_file(path: Path, data: NDArray[np.generic], order: NDArray[np.float64]) -> Path:
    nib.Nifti1Image(data, affine()).as_reoriented(order).to_filename(path)
    return path


def prepared(scan: Scan, store: Storage, key: str) -> SliceColumns:
    record = process_scan(scan, "orders", "test", SETTINGS, key, store)
    assert record.status == "ok", record.reason
    return read_slices(store, record)


def same_slices(one: SliceColumns, other: SliceColumns) -> bool:
    """Whether images, masks and all that leads back to the scan are equal, to the bit."""
    names = ("images_NHW", "brain_bits_NK", "lesion_bits_NK", "slice_index_N")
    arrays = all(getattr(one, n).tobytes() == getattr(other, n).tobytes() for n in names)
    a, b = one.geometry, other.geometry
    grid = (a.shape_XYZ, a.spacing_mm, a.crop_box, a.pixel_mm)
    return arrays and grid == (b.shape_XYZ, b.spacing_mm, b.crop_box, b.pixel_mm)


def centre_mm(mask: NDArray[np.bool_], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    centre: NDArray[np.float64] = np.argwhere(mask).mean(axis=0) @ grid[:3, :3].T + grid[:3, 3]
    return centre


def test_all_48_orders_give_the_same_slices_that_lead_back_to_the_scan(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    skull = ellipsoid((84, 100, 80), (1, 3, 4)) & ~ellipsoid((72, 90, 70), (1, 3, 4))
    data = np.where(BRAIN, rng.normal(400, 40, SHAPE), np.where(skull, 700, 20))
    data = np.where(LESION, data / 2, data).astype(np.float32)
    store = Storage.open(str(tmp_path / "store"))
    expected: SliceColumns | None = None
    for number, order in enumerate(ORDERS):
        image = store_file(tmp_path / f"{number}.nii", data, order)
        # Masks in orders of their own: each file is read by its own affine.
        lesion = store_file(
            tmp_path / f"{number}-l.nii", LESION.astype(np.uint8), ORDERS[(number * 7 + 3) % 48]
        )
        brain = store_file(
            tmp_path / f"{number}-b.nii", BRAIN.astype(np.uint8), ORDERS[(number * 5 + 11) % 48]
        )
        scan = Scan("01", "", "T1w", image, (lesion,), brain)
        slices = prepared(scan, store, scan_key(scan, "o", "test", SETTINGS, scan_checksums(scan)))
        expected = expected or slices
        assert same_slices(slices, expected), f"order {order.tolist()}"
        grid = np.array(slices.geometry.affine).reshape(4, 4)
        np.testing.assert_allclose(grid, affine(), atol=1e-4)
        # From the slices back to the scanner: where the file itself says that the lesion is.
        lesion_SHW = np.unpackbits(slices.lesion_bits_NK, axis=1).reshape(-1, SIZE, SIZE)
        back = to_volume(lesion_SHW.astype(np.float32), slices.slice_index_N, slices.geometry)
        stored = nib.load(lesion)
        there = centre_mm(np.asarray(stored.dataobj) > 0, stored.affine)
        np.testing.assert_allclose(centre_mm(back >= 0.5, grid), there, atol=0.5)
    assert len(ORDERS) == 48
    assert expected is not None
    assert expected.images_NHW.any()


@pytest.mark.slow
def test_orders_give_the_same_slices_through_deepbet(tmp_path: Path) -> None:
    writer.ensure(tmp_path / "phantom", PhantomOptions(layout="ixi", subjects=1, slice_mm=3))
    (head,) = phantom.list_scans(tmp_path / "phantom", ("T1w",)).scans
    image = nib.load(head.image)
    empty = nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine)
    empty.to_filename(tmp_path / "lesion.nii")
    store = Storage.open(str(tmp_path / "store"))
    found = []
    for number in (0, 21, 46):
        path = tmp_path / f"{number}.nii.gz"
        image.as_reoriented(ORDERS[number]).to_filename(path)
        scan = Scan("01", "", "T1w", path, (tmp_path / "lesion.nii",))
        found.append(prepared(scan, store, f"{number:020x}"))
    assert same_slices(found[0], found[1])
    assert same_slices(found[0], found[2])
