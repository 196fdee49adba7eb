from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.errors import ScanError
from datasets.nifti import load_mask, load_volume
from tests.volumes import AFFINE, SHAPE, save, values


class TestMaskValues:
    """Which voxels of a mask count."""

    def mask(self, tmp_path: Path, data: NDArray[np.generic]) -> tuple[NDArray[np.bool_], str]:
        image = save(tmp_path / "image.nii.gz", values())
        path = save(tmp_path / "mask.nii.gz", data)
        mask, notes = load_mask(path, load_volume(image), image)
        assert mask.dtype == np.bool_
        return mask, " ".join(notes)

    @pytest.mark.parametrize("high", [1, 2, 255, 0.4])
    def test_one_value_marks_the_lesion(self, tmp_path: Path, high: float) -> None:
        truth = values() > 60
        mask, notes = self.mask(tmp_path, np.where(truth, high, 0).astype(np.float32))
        np.testing.assert_array_equal(mask, truth)
        assert notes == ""

    def test_all_labels_of_a_tumour_count(self, tmp_path: Path) -> None:
        labels = np.choose(values() % 4, [0, 1, 2, 4]).astype(np.uint8)
        mask, notes = self.mask(tmp_path, labels)
        np.testing.assert_array_equal(mask, labels > 0)
        assert notes == ""

    @pytest.mark.parametrize("full", [1.0, 255.0])
    def test_smoothed_mask_keeps_the_size_of_its_lesion(self, tmp_path: Path, full: float) -> None:
        from scipy.ndimage import gaussian_filter

        x, y, z = np.ogrid[:32, :32, :32]
        truth = (x - 15) ** 2 + (y - 16) ** 2 + (z - 14) ** 2 < 81
        smooth = gaussian_filter(truth.astype(np.float32), 1.0) * full
        rng = np.random.default_rng(1)
        image = save(tmp_path / "i.nii.gz", rng.integers(0, 9, (32, 32, 32)).astype(np.int16))
        like = load_volume(image)
        path = save(tmp_path / "m.nii.gz", np.rint(smooth * 250 / full).astype(np.uint8))
        for data in (path, save(tmp_path / "f.nii.gz", smooth.astype(np.float32))):
            mask, notes = load_mask(data, like, image)
            assert abs(int(mask.sum()) - int(truth.sum())) < 0.05 * truth.sum()
            assert "shaded mask" in notes[0]
        assert np.count_nonzero(smooth > 0) > 2 * truth.sum()

    @pytest.mark.parametrize("dtype", ["int16", "uint8"])
    def test_labels_stored_in_steps_of_another_size_all_count(
        self, tmp_path: Path, dtype: str
    ) -> None:
        labels = np.choose(values() % 4, [0, 1, 2, 4]).astype(np.float64)
        image = nib.Nifti1Image(labels, AFFINE)
        image.set_data_dtype(dtype)  # nibabel then chooses a slope that uses the whole range
        nib.save(image, tmp_path / "labels.nii.gz")
        stored = nib.load(tmp_path / "labels.nii.gz").get_fdata()
        assert set(np.unique(stored)) != {0, 1, 2, 4}
        mask, notes = load_mask(
            tmp_path / "labels.nii.gz",
            load_volume(save(tmp_path / "image.nii.gz", values())),
            tmp_path / "image.nii.gz",
        )
        np.testing.assert_array_equal(mask, labels > 0)
        assert notes == ()

    def test_a_number_for_each_of_many_lesions_is_a_label(self, tmp_path: Path) -> None:
        data = np.zeros((40, 40, 40), np.uint8)
        for number in range(25):
            x, y = 1 + 7 * (number % 5), 1 + 7 * (number // 5)
            data[x : x + 5, y : y + 5, 10:16] = number + 1
        rng = np.random.default_rng(1)
        image = save(tmp_path / "i.nii.gz", rng.integers(0, 9, data.shape).astype(np.int16))
        for labels in (data, np.where(data == 25, 25, 0).astype(np.uint8) + (data == 24)):
            mask, notes = load_mask(save(tmp_path / "m.nii.gz", labels), load_volume(image), image)
            np.testing.assert_array_equal(mask, labels > 0)
            assert notes == ()

    @pytest.mark.parametrize(("sigma", "enlarge"), [(1, 2), (4, 1), (8, 1)])
    def test_wide_or_enlarged_shades_in_whole_numbers_are_no_labels(
        self, tmp_path: Path, sigma: float, enlarge: int
    ) -> None:
        from scipy.ndimage import gaussian_filter

        x, y, z = np.ogrid[:64, :64, :64]
        truth = (x - 31) ** 2 + (y - 32) ** 2 + (z - 30) ** 2 < 144
        smooth = np.rint(gaussian_filter(truth * 255.0, sigma)).astype(np.uint8)
        for axis in range(3):
            smooth = smooth.repeat(enlarge, axis)
        rng = np.random.default_rng(1)
        image = save(tmp_path / "i.nii.gz", rng.integers(0, 9, smooth.shape).astype(np.int16))
        path = save(tmp_path / "m.nii.gz", smooth)
        mask, notes = load_mask(path, load_volume(image), image)
        np.testing.assert_array_equal(mask, smooth >= smooth.max() / 2)
        assert "a shaded mask" in notes[0]

    def test_shades_that_never_reach_half_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ScanError, match=r"none reaches 0\.5"):
            self.mask(tmp_path, (values("float32") / 1000))

    def test_empty_mask_is_empty_and_says_so(self, tmp_path: Path) -> None:
        mask, notes = self.mask(tmp_path, np.zeros(SHAPE, np.uint8))
        assert not mask.any()
        assert notes == "the mask is empty"

    def test_negative_and_non_finite_values_do_not_count(self, tmp_path: Path) -> None:
        data = np.full(SHAPE, np.nan, np.float32)
        data[0] = -1
        data[1] = 1
        mask, notes = self.mask(tmp_path, data)
        assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [1]
        assert "224 voxels of the mask are NaN" in notes

    def test_mask_of_everything_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ScanError, match="marks every voxel"):
            self.mask(tmp_path, np.ones(SHAPE, np.uint8))
