from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.errors import ScanError
from datasets.nifti import Volume, load_mask, load_volume

Array = NDArray[np.float64]
ORDERS = [
    np.array(list(zip(axes, flips, strict=True)), dtype=float)
    for axes in permutations(range(3))
    for flips in product((1, -1), repeat=3)
]


def rotation(degrees: float, axis: int) -> Array:
    angle = np.radians(degrees)
    i, j = (a for a in range(3) if a != axis)
    matrix = np.eye(4)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    return matrix


def grid(spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> Array:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def head(shape: tuple[int, int, int] = (20, 24, 22)) -> NDArray[np.int16]:
    return np.random.default_rng(3).integers(0, 1000, shape).astype(np.int16)


def ball(shape: tuple[int, int, int], affine: Array, centre: Array, radius: float) -> Array:
    """A ball in millimetres on a grid."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    mm = index @ affine[:3, :3].T + affine[:3, 3]
    return (np.linalg.norm(mm - centre, axis=-1) <= radius).astype(np.uint8)


def centre_mm(mask: NDArray[np.bool_], affine: Array) -> Array:
    centre: Array = np.argwhere(mask).mean(axis=0) @ affine[:3, :3].T + affine[:3, 3]
    return centre


def save(path: Path, data: NDArray[np.generic], affine: Array) -> Path:
    nib.Nifti1Image(data, affine).to_filename(path)
    return path


class TestOrientation:
    @pytest.mark.parametrize("code", ["sform", "qform"])
    @pytest.mark.parametrize("tilt", [0.0, 17.0])
    def test_all_48_axis_orders_and_flips_give_the_same_volume(
        self, tmp_path: Path, code: str, tilt: float
    ) -> None:
        affine = rotation(tilt, 0) @ rotation(tilt / 2, 2) @ grid((0.9375, 1.2, 3.3), (-9, 7, 4))
        reference = nib.Nifti1Image(head(), affine)
        mask = (head() > 900).astype(np.uint8)
        volumes: list[Volume] = []
        for number, order in enumerate(ORDERS):
            image = reference.as_reoriented(order)
            stored = image.affine.copy()
            image.set_sform(stored, 1 if code == "sform" else 0)
            image.set_qform(stored, 1 if code == "qform" else 0)
            image.to_filename(tmp_path / f"{number}.nii")
            volumes.append(load_volume(tmp_path / f"{number}.nii"))
        assert len(volumes) == 48
        for volume in volumes:
            assert volume.data_XYZ.tobytes() == head().astype(np.float32).tobytes()
            assert volume.spacing_mm == volumes[0].spacing_mm == (0.9375, 1.2, 3.3)
            np.testing.assert_allclose(volume.affine, affine, atol=5e-4)
            assert volume.notes == ()
        for number in (5, 17, 40):
            path = tmp_path / f"mask{number}.nii"
            nib.Nifti1Image(mask, affine).as_reoriented(ORDERS[number]).to_filename(path)
            placed, notes = load_mask(path, volumes[11], tmp_path / "11.nii")
            np.testing.assert_array_equal(placed, mask > 0)
            assert notes == ()

    def test_a_point_stays_where_it_is_in_the_scanner(self, tmp_path: Path) -> None:
        # Stored as IXI stores T1w: the axes run to posterior, superior and right.
        affine = np.array([[0, 0, 1.2, -80], [-0.94, 0, 0, 120], [0, 0.94, 0, -60], [0, 0, 0, 1]])
        data = np.arange(30 * 26 * 15, dtype=np.uint16).reshape(30, 26, 15) % 100
        data[4, 20, 9] = 200
        volume = load_volume(save(tmp_path / "a.nii.gz", data, affine))
        assert volume.data_XYZ.shape == (15, 30, 26)
        assert volume.spacing_mm == (1.2, 0.94, 0.94)
        index = np.argwhere(volume.data_XYZ == 200)
        assert len(index) == 1
        np.testing.assert_allclose(
            volume.affine @ [*index[0], 1], affine @ [4, 20, 9, 1], atol=1e-4
        )
        assert (np.diag(volume.affine) > 0).all()

    def test_sform_comes_before_qform_and_disagreement_is_noted(self, tmp_path: Path) -> None:
        image = nib.Nifti1Image(head(), grid((1, 1, 1), (0, 0, 0)))
        image.set_sform(grid((1, 1, 1), (0, 0, 5)), 1)
        image.set_qform(rotation(3, 2) @ grid((1, 1, 1), (0, 0, 0)), 1)
        image.to_filename(tmp_path / "a.nii.gz")
        volume = load_volume(tmp_path / "a.nii.gz")
        assert volume.affine[2, 3] == 5
        assert volume.notes == ("sform and qform disagree by 5.2 mm; the sform is used",)

    def test_qform_counts_where_no_sform_is_stored(self, tmp_path: Path) -> None:
        image = nib.Nifti1Image(head(), None)
        image.set_sform(grid((9, 9, 9), (0, 0, 0)), 0)
        image.set_qform(grid((1, 2, 3), (4, 5, 6)), 1)
        image.to_filename(tmp_path / "a.nii.gz")
        volume = load_volume(tmp_path / "a.nii.gz")
        np.testing.assert_allclose(volume.affine, grid((1, 2, 3), (4, 5, 6)), atol=1e-6)
        assert volume.notes == ()

    def test_no_orientation_is_refused_rather_than_guessed(self, tmp_path: Path) -> None:
        nib.Nifti1Image(head(), None).to_filename(tmp_path / "a.nii.gz")
        with pytest.raises(ScanError, match="stores no orientation"):
            load_volume(tmp_path / "a.nii.gz")

    def test_steep_obliqueness_is_noted(self, tmp_path: Path) -> None:
        for degrees, notes in ((15, 0), (35, 1)):
            affine = rotation(degrees, 0) @ grid((1, 1, 1), (0, 0, 0))
            volume = load_volume(save(tmp_path / f"{degrees}.nii.gz", head(), affine))
            assert len(volume.notes) == notes
        assert volume.notes[0].startswith("axes are up to 35 degrees")


class TestMaskOnItsImage:
    shape = (40, 44, 42)
    affine = grid((1.0, 1.0, 1.0), (-20, -22, -21))
    centre = np.array([3.0, -4.0, 5.0])

    def image(self, tmp_path: Path, affine: Array | None = None) -> tuple[Volume, Path]:
        path = save(
            tmp_path / "i.nii.gz", head(self.shape), self.affine if affine is None else affine
        )
        return load_volume(path), path

    def mask(self, tmp_path: Path, affine: Array, shape: tuple[int, int, int]) -> Path:
        return save(tmp_path / "m.nii.gz", ball(shape, affine, self.centre, 8), affine)

    def test_within_a_thousandth_of_a_millimetre_the_grid_is_the_same(self, tmp_path: Path) -> None:
        volume, path = self.image(tmp_path)
        near = self.affine.copy()
        near[0, 3] += 5e-4
        data = ball(self.shape, self.affine, self.centre, 8)
        placed, notes = load_mask(save(tmp_path / "m.nii.gz", data, near), volume, path)
        np.testing.assert_array_equal(placed, data > 0)
        assert notes == ()

    @pytest.mark.parametrize(
        ("name", "mask_affine", "mask_shape"),
        [
            ("shifted", grid((1, 1, 1), (-20.4, -21.7, -21.2)), (40, 44, 42)),
            ("cropped", grid((1, 1, 1), (-15, -18, -16)), (34, 36, 38)),
            ("finer", grid((0.5, 0.6, 0.7), (-20, -22, -21)), (80, 73, 60)),
            ("coarser", grid((2, 1.5, 1.5), (-20, -22, -21)), (20, 29, 28)),
            ("turned", rotation(12, 0) @ grid((1, 1, 1), (-20, -22, -21)), (40, 44, 42)),
            ("mirrored", grid((-1, -1, 1), (19, 21, -21)), (40, 44, 42)),
        ],
    )
    def test_safe_resampling_keeps_place_and_volume(
        self, tmp_path: Path, name: str, mask_affine: Array, mask_shape: tuple[int, int, int]
    ) -> None:
        volume, path = self.image(tmp_path)
        placed, notes = load_mask(self.mask(tmp_path, mask_affine, mask_shape), volume, path)
        truth = ball(self.shape, self.affine, self.centre, 8) > 0
        # Nearest neighbours can be half a voxel off.
        assert np.linalg.norm(centre_mm(placed, self.affine) - self.centre) < 0.6
        dice = 2 * (placed & truth).sum() / (placed.sum() + truth.sum())
        assert dice > 0.9
        assert len(notes) == (0 if name == "mirrored" else 1)

    def test_a_grid_of_half_the_spacing_marks_whole_voxels(self, tmp_path: Path) -> None:
        volume, path = self.image(tmp_path)
        data = ball(self.shape, self.affine, self.centre, 8)
        fine = data.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        mask = save(tmp_path / "m.nii.gz", fine, grid((0.5, 0.5, 0.5), (-20.25, -22.25, -21.25)))
        placed, _ = load_mask(mask, volume, path)
        np.testing.assert_array_equal(placed, data > 0)

    @pytest.mark.parametrize(
        ("mask_affine", "mask_shape", "reason"),
        [
            (grid((3, 1, 1), (-20, -22, -21)), (14, 44, 42), r"voxels of 3 x 1 x 1 mm differ"),
            (grid((0.4, 1, 1), (-20, -22, -21)), (99, 44, 42), r"differ too much"),
            (
                rotation(40, 2) @ grid((1, 1, 1), (-20, -22, -21)),
                (40, 44, 42),
                r"turned by 40 degrees",
            ),
            (grid((1, 1, 1), (0, -22, -21)) @ np.eye(4), (60, 44, 42), None),
            (grid((1, 1, 1), (200, 200, 200)), (40, 44, 42), r"share only 0%"),
        ],
    )
    def test_unsafe_resampling_is_refused(
        self,
        tmp_path: Path,
        mask_affine: Array,
        mask_shape: tuple[int, int, int],
        reason: str | None,
    ) -> None:
        volume, path = self.image(tmp_path)
        if reason is None:
            centre, reason = np.array([30.0, 0.0, 0.0]), "lie outside the image"
        else:
            centre = self.centre
        data = ball(mask_shape, mask_affine, centre, 8)
        mask = save(tmp_path / "m.nii.gz", data, mask_affine)
        with pytest.raises(ScanError, match=reason) as caught:
            load_mask(mask, volume, path)
        assert str(path) in str(caught.value)
        assert str(mask) in str(caught.value)

    @pytest.mark.parametrize("drawn_by", ["sform", "qform"])
    def test_a_mask_drawn_by_either_orientation_of_an_image_lies_on_its_voxels(
        self, tmp_path: Path, drawn_by: str
    ) -> None:
        affines = {"sform": grid((1, 1, 1), (0, 0, 5)), "qform": grid((1, 1, 1), (3, 0, 0))}
        image = nib.Nifti1Image(head(), affines["sform"])
        image.set_sform(affines["sform"], 1)
        image.set_qform(affines["qform"], 1)
        image.to_filename(tmp_path / "image.nii.gz")
        volume = load_volume(tmp_path / "image.nii.gz")
        truth = ball(head().shape, affines["sform"], centre_mm(head() > 0, affines["sform"]), 4)
        path = save(tmp_path / "mask.nii.gz", truth.astype(np.uint8), affines[drawn_by])
        placed, notes = load_mask(path, volume, tmp_path / "image.nii.gz")
        np.testing.assert_array_equal(placed, truth > 0)
        assert len(notes) == (drawn_by == "qform")

    def test_a_mask_for_an_image_whose_forms_flip_an_axis_is_taken_by_the_same_form_alone(
        self, tmp_path: Path
    ) -> None:
        shape = head().shape
        sform, qform = np.diag([-1.0, 1, 1, 1]), np.diag([1.0, 1, 1, 1])
        sform[0, 3], qform[0, 3] = shape[0] / 2, -shape[0] / 2
        image = nib.Nifti1Image(head(), sform)
        image.set_sform(sform, 1)
        image.set_qform(qform, 1)
        image.to_filename(tmp_path / "image.nii.gz")
        volume = load_volume(tmp_path / "image.nii.gz")
        marked = np.zeros(shape, np.uint8)
        marked[2:6, 5:9, 5:9] = 1
        by_sform = save(tmp_path / "s.nii.gz", marked, sform)
        placed, _ = load_mask(by_sform, volume, tmp_path / "image.nii.gz")
        np.testing.assert_array_equal(placed, marked[::-1] > 0)
        by_qform = save(tmp_path / "q.nii.gz", marked, qform)
        with pytest.raises(ScanError, match="different directions"):
            load_mask(by_qform, volume, tmp_path / "image.nii.gz")

    def test_lesion_lost_between_the_voxels_is_refused(self, tmp_path: Path) -> None:
        volume, path = self.image(tmp_path)
        data = np.zeros((80, 88, 84), np.uint8)
        data[41, 41, 41] = 1
        mask = save(tmp_path / "m.nii.gz", data, grid((0.5, 0.5, 0.5), (-20, -22, -21)))
        with pytest.raises(ScanError, match=r"would change its volume from 0\.125 to 0 mm3"):
            load_mask(mask, volume, path)
