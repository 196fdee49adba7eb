"""Maps in a scan's own voxels: where they lie, and that nothing of the figures is lost."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from datasets.checksums import scan_checksums, scan_key
from datasets.nifti_header import check_header
from datasets.nifti_write import nifti_bytes, stored_affine
from datasets.preprocess import SliceGeometry
from datasets.scan import Role, Scan
from datasets.settings import SIZE, PreprocessSettings
from datasets.shards import SliceColumns, process_scan, read_slices
from datasets.storage import Storage
from study.apply.maps import HealthyPixels, ScanMaps, pieces, scan_maps
from study.report.thresholds import SubjectCounts, thresholds
from tests.datasets.test_orders import BRAIN, LESION, ORDERS, SHAPE, affine, store_file
from trainables.evaluate import evaluate
from trainables.registry import detector_class
from trainables.slices import Slices

SETTINGS = PreprocessSettings()


def prepared(scan: Scan, store: Storage, role: Role = "test") -> SliceColumns:
    key = scan_key(scan, "c", role, SETTINGS, scan_checksums(scan))
    record = process_scan(scan, "c", role, SETTINGS, key, store)
    assert record.status == "ok", record.reason
    return read_slices(store, record)


def intensity():
    model = detector_class("intensity")
    return model(model.Params(), seed=0)


def test_all_48_orders_give_the_same_map_each_in_its_own_files_voxels(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    data = np.where(BRAIN, rng.normal(400, 40, SHAPE), 0)
    data = np.where(LESION, 2 * data, data).astype(np.float32)
    store = Storage.open(str(tmp_path / "store"))
    expected = None
    for number, order in enumerate(ORDERS):
        image = store_file(tmp_path / f"{number}.nii.gz", data, order)
        slices = prepared(Scan("01", "", "T1w", image), store, "healthy")
        maps = scan_maps(intensity(), "intensity", slices, 1.5, None)
        facts = check_header(image)
        out = tmp_path / f"{number}-map.nii.gz"
        out.write_bytes(nifti_bytes(maps.score_XYZ, facts))
        written, own = nib.load(out), nib.load(image)
        assert written.shape == own.shape
        np.testing.assert_allclose(written.affine, own.affine, atol=1e-5)
        np.testing.assert_allclose(written.get_qform(), own.affine, atol=1e-4)
        in_world = nib.as_closest_canonical(written).get_fdata(dtype=np.float32)
        expected = in_world if expected is None else expected
        np.testing.assert_allclose(in_world, expected, atol=1e-5)
        # What is bright in the file is bright at the same index of the map.
        bright = np.asarray(own.dataobj) > 600
        there = np.asarray(written.dataobj)[bright]
        assert np.mean(there > 1.4) > 0.9
    assert expected is not None
    assert expected.any()


def test_a_sheared_grid_keeps_its_affine_and_claims_no_quaternion(tmp_path: Path) -> None:
    sheared = affine()
    sheared[0, 1] += 0.6
    image = tmp_path / "sheared.nii"
    nib.Nifti1Image(np.zeros(SHAPE, np.float32), sheared).to_filename(image)
    facts = check_header(image)
    np.testing.assert_allclose(stored_affine(facts), sheared, atol=1e-5)
    out = tmp_path / "map.nii.gz"
    out.write_bytes(nifti_bytes(np.zeros(SHAPE, bool), facts))
    written = nib.load(out)
    np.testing.assert_allclose(written.affine, sheared, atol=1e-5)
    assert written.header["qform_code"] == 0
    assert written.get_data_dtype() == np.uint8


def fine_scan(folder: Path, seed: int, *, lesion: bool) -> Scan:
    """A stripped head of a few thick slices, in voxels finer than the slices' pixels.

    Its noise is as smooth as that of scans is, whose resolution is no finer than their voxels.
    """
    shape, spacing = (140, 170, 12), (1.0, 1.0, 10.0)
    rng = np.random.default_rng(seed)
    x, y, z = (
        (i - (n - 1) / 2) * d for i, n, d in zip(np.indices(shape), shape, spacing, strict=True)
    )
    brain = (x / 62) ** 2 + (y / 78) ** 2 + (z / 54) ** 2 < 1
    waves = 40 * np.sin(x / (7 + seed % 3) + seed) * np.cos(y / 9)
    data = 400 + waves + 60 * gaussian_filter(rng.standard_normal(shape), (1.5, 1.5, 0))
    spot = ((x - 20) ** 2 + (y - 10) ** 2) / 15**2 + (z / 25) ** 2 < 1
    data = np.where(brain, np.where(spot & lesion, data * 1.25, data), 0).astype(np.float32)
    grid = np.diag([*spacing, 1.0])
    folder.mkdir(parents=True, exist_ok=True)
    image, masks = folder / f"{seed}.nii.gz", []
    nib.Nifti1Image(data, grid).to_filename(image)
    if lesion:
        masks = [folder / f"{seed}-lesion.nii.gz"]
        nib.Nifti1Image((spot & brain).astype(np.uint8), grid).to_filename(masks[0])
    return Scan(f"s{seed}", "", "T1w", image, tuple(masks))


def as_set(some: list[SliceColumns]) -> Slices:
    """Slices as a trial has them, a subject each."""
    counts = [len(one.slice_index_N) for one in some]
    number_N = np.repeat(np.arange(len(some), dtype=np.int32), counts)
    return Slices(
        images_NHW=np.concatenate([one.images_NHW for one in some]),
        brain_bits_NK=np.concatenate([one.brain_bits_NK for one in some]),
        lesion_bits_NK=np.concatenate([one.lesion_bits_NK for one in some]),
        subject_N=number_N,
        slice_index_N=np.concatenate([one.slice_index_N for one in some]),
        subjects=tuple(f"c/{number}" for number in range(len(some))),
    )


def unpacked(bits_NK: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.unpackbits(bits_NK, axis=1).reshape(-1, SIZE, SIZE).astype(bool)


def at_pixels(volume_XYS: NDArray[np.float32], geometry: SliceGeometry) -> NDArray[np.float32]:
    """What a volume has at the centre of each pixel."""
    x0, x1, y0, y1 = geometry.crop_box
    from_centre_mm = (np.arange(SIZE) - (SIZE - 1) / 2) * geometry.pixel_mm

    def voxels(first: int, end: int, step_mm: float) -> NDArray[np.intp]:
        place = np.round(from_centre_mm / step_mm + (first + end - 1) / 2).astype(np.intp)
        return np.clip(place, first, end - 1)

    x, y = voxels(x0, x1, geometry.spacing_mm[0]), voxels(y0, y1, geometry.spacing_mm[1])[::-1]
    return volume_XYS[x[None, :], y[:, None]].transpose(2, 0, 1)


PARAMS = {
    "vae": {"n_c": 4, "n_z": 16, "batch_size": 8},
    "gmm": {"gmm_lambda": 0.01},
    "intensity": {},
}


@pytest.mark.parametrize("name", sorted(PARAMS))
def test_a_map_that_is_cut_again_has_the_evaluations_auc(tmp_path: Path, name: str) -> None:
    store = Storage.open(str(tmp_path / "store"))
    train = [prepared(fine_scan(tmp_path / "h", n, lesion=False), store, "train") for n in range(4)]
    test = [prepared(fine_scan(tmp_path / "s", n, lesion=True), store) for n in (11, 12)]
    model = detector_class(name)
    params = PARAMS[name]
    detector = model(model.Params.model_validate(params), seed=0)
    for _ in detector.fit(as_set(train), None, 4 if name == "vae" else 1):
        pass
    rows = evaluate(detector, as_set(test)).subjects.to_pylist()
    for row in rows:
        if row["region"] != "brain":
            continue
        slices = test[int(row["subject"].removeprefix("c/"))]
        assert slices.geometry.pixel_mm >= 1.0
        maps = scan_maps(detector, row["score"], slices, np.inf, None)
        again = at_pixels(maps.score_XYZ[:, :, slices.slice_index_N], slices.geometry)
        brain, lesion = unpacked(slices.brain_bits_NK), unpacked(slices.lesion_bits_NK)
        auc = roc_auc_score(lesion[brain], again[brain])
        assert auc == pytest.approx(row["auc"], abs=0.005), row["score"]


def counts_of(values: NDArray[np.float32]) -> SubjectCounts:
    scores, counts = np.unique(values, return_counts=True)
    return SubjectCounts.of(scores[::-1], np.zeros(len(scores), np.int64), counts[::-1])


def test_shares_are_those_of_the_pooled_healthy_pixels() -> None:
    rng = np.random.default_rng(0)
    values = [np.round(rng.normal(m, 1, 300), 1).astype(np.float32) for m in (0, 1)]
    healthy = [counts_of(some) for some in values]
    asked = np.array([-50, -0.5, 0.3, 2.0, 50], np.float32)
    pooled = np.concatenate(values)
    expected = [np.mean(pooled < value) for value in asked]
    np.testing.assert_allclose(HealthyPixels.of(healthy).share_below(asked), expected, atol=0.02)
    # A voxel at the threshold of 5 % has at least 95 % below it.
    (edge,) = thresholds(healthy, [0.05])
    assert HealthyPixels.of(healthy).share_below(np.array([edge], np.float32))[0] >= 0.95 - 1e-6


def test_pieces_touch_by_corners_and_are_told_in_mm() -> None:
    mask = np.zeros((6, 6, 6), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True  # one piece, by a corner
    mask[4, 4, 4] = mask[4, 4, 5] = mask[4, 3, 4] = True
    score = np.where(mask, 1.0, 0).astype(np.float32)
    score[4, 4, 5] = 3.0
    share = np.where(mask, 0.97, 0).astype(np.float32)
    maps = ScanMaps(score, np.ones_like(mask), share, mask)
    grid = np.diag([2.0, 2.0, 3.0, 1.0])
    grid[:3, 3] = (-10, 0, 5)
    found = pieces(maps, grid, 0.012)
    assert [piece.voxels for piece in found] == [3, 2]
    largest = found[0]
    assert largest.ml == pytest.approx(0.036)
    assert (largest.peak, largest.peak_mm) == (3.0, (-2.0, 8.0, 20.0))
    assert largest.peak_share == pytest.approx(0.97)
    assert found[1].centre_mm == (-9.0, 1.0, 6.5)
    assert pieces(ScanMaps(score, mask, None, np.zeros_like(mask)), grid, 1.0) == []
