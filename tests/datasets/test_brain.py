from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from datasets.brain import extract_brain, recognise_stripped
from datasets.errors import ScanError
from datasets.nifti import Volume
from datasets.qc import LIMITS, measure_brain, verdict
from datasets.repair import fill_holes
from datasets.scan import Scan

SHAPE = (52, 62, 56)
SPACING = (4.0, 4.0, 4.0)
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def ellipsoid(
    radii_mm: tuple[float, float, float],
    centre_mm: tuple[float, float, float] = (0, 0, 0),
    shape: tuple[int, int, int] = SHAPE,
    step: float = 4.0,
) -> NDArray[np.bool_]:
    axes = [
        ((np.arange(n) - (n - 1) / 2) * step - c) / r
        for n, c, r in zip(shape, centre_mm, radii_mm, strict=True)
    ]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return np.asarray(x**2 + y**2 + z**2 <= 1)


BRAIN = ellipsoid((66, 82, 62), (0, 0, 20))


def volume_of(data: NDArray[np.generic]) -> Volume:
    return Volume(np.asarray(data, dtype=np.float32), AFFINE, SPACING)


def stripped_image(seed: int = 0) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).standard_normal(SHAPE)
    return np.where(BRAIN, 300 + 40 * noise, 0)


def whole_head(background: float = 0.0, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    data = np.abs(background * rng.standard_normal(SHAPE))
    data[ellipsoid((90, 108, 100), (0, 0, 4))] = 400
    data[ellipsoid((82, 100, 90), (0, 0, 8))] = 60
    data[BRAIN] = 300
    return np.asarray(data + (data > 50) * 20 * rng.standard_normal(SHAPE))


def scan_of(**fields: object) -> Scan:
    return replace(Scan("01", "", "T1w", Path("head.nii.gz")), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("background", [0.0, -7.5, 1000.0])
def test_a_stripped_image_is_recognised_by_its_exact_background(background: float) -> None:
    data = stripped_image() + background
    ventricle = ellipsoid((12, 16, 10), (0, 0, 20))
    data[ventricle] = background
    rim = BRAIN & ~np.pad(BRAIN, 1)[2:, 1:-1, 1:-1]
    data[rim] = background - 3
    recognised = recognise_stripped(volume_of(data))
    assert recognised is not None
    np.testing.assert_array_equal(recognised, BRAIN)
    found = extract_brain(volume_of(data), scan_of())
    assert found.tool == "already stripped"
    assert found.notes == ("recognised as already stripped",)


@pytest.mark.parametrize("background", [0.0, 4.0])
def test_a_whole_head_is_not_taken_for_a_stripped_one(background: float) -> None:
    assert recognise_stripped(volume_of(whole_head(background))) is None


def test_a_brain_within_a_separate_scalp_is_not_taken_for_a_stripped_one() -> None:
    data = whole_head()
    data[ellipsoid((82, 100, 90), (0, 0, 8)) & ~BRAIN] = 0
    assert recognise_stripped(volume_of(data)) is None


def test_a_declared_stripped_image_with_a_noisy_background_passes_at_the_second_try() -> None:
    faint = np.random.default_rng(1).standard_normal(SHAPE)
    found = extract_brain(volume_of(stripped_image() + faint), scan_of(stripped=True))
    assert found.tool == "already stripped"
    assert "tried before" in found.notes[0]
    assert (found.mask_XYZ ^ BRAIN).sum() < 0.02 * BRAIN.sum()


def test_a_whole_head_declared_stripped_is_refused_with_its_volume() -> None:
    with pytest.raises(ScanError, match=r"volume of 4... ml is not within 600 to 2400 ml"):
        extract_brain(volume_of(whole_head()), scan_of(stripped=True))


def test_a_mask_that_comes_with_the_data_is_used_but_checked(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    mask = BRAIN.copy()
    mask[2, 2, 2] = True
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), AFFINE), path)
    found = extract_brain(volume_of(whole_head()), scan_of(brain_mask=path))
    np.testing.assert_array_equal(found.mask_XYZ, BRAIN)
    assert found.tool == "given mask"
    assert found.notes == ("dropped 1 voxels of the brain mask that lie apart",)


def test_where_a_given_mask_is_no_brain_another_way_is_tried_and_told(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    half = BRAIN & (np.arange(SHAPE[0]) < SHAPE[0] // 2)[:, None, None]
    nib.save(nib.Nifti1Image(half.astype(np.uint8), AFFINE), path)
    found = extract_brain(volume_of(stripped_image()), scan_of(brain_mask=path))
    np.testing.assert_array_equal(found.mask_XYZ, BRAIN)
    assert found.tool == "already stripped"
    assert found.notes[0].startswith("tried before: given mask (as it is): ")
    with pytest.raises(ScanError, match=r"given mask.*left-right.*already stripped"):
        extract_brain(volume_of(whole_head()), scan_of(brain_mask=path, stripped=True))


def fault_of(mask: NDArray[np.bool_], spacing: tuple[float, float, float] = SPACING) -> str:
    return verdict(measure_brain(mask, spacing)[1])


X, _, Z = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (ellipsoid((50, 55, 40)), "volume"),
        (ellipsoid((85, 100, 80)), "volume"),
        (BRAIN & (X < 26), "left and right differ"),
        (BRAIN | ellipsoid((30, 40, 30), (74, 0, 20)), "left and right differ"),
        (BRAIN & (abs(Z - 30) > 3), "in pieces"),
        (BRAIN | ellipsoid((30, 30, 200), (0, 0, -60)) & (Z < 30), "bottom-top"),
        (np.pad(BRAIN, ((0, 0), (50, 0), (0, 0))), "its centre is off"),
    ],
)
def test_what_is_no_whole_brain_is_refused_with_its_reason(
    mask: NDArray[np.bool_], reason: str
) -> None:
    assert fault_of(BRAIN) == ""
    assert reason in fault_of(mask)


def test_a_brain_cut_off_at_the_top_is_refused_but_not_at_the_bottom() -> None:
    assert "cut off" in fault_of(BRAIN[:, :, :40])
    assert fault_of(BRAIN[:, :, 20:]) == ""


def test_large_lesions_cut_from_a_mask_do_not_fail_it() -> None:
    stroke = BRAIN & ~ellipsoid((30, 50, 30), (45, 0, 30))
    assert 1 - stroke.sum() / BRAIN.sum() > 0.1
    assert fault_of(stroke) == ""


def test_volume_is_measured_in_millilitres_of_the_largest_piece() -> None:
    mask = np.zeros((10, 10, 10), bool)
    mask[2:4, 2:7, 2:4] = True
    mask[8, 8, 8] = True
    piece, measures = measure_brain(mask, (5.0, 10.0, 20.0))
    assert measures.volume_ml == 20.0
    assert measures.largest_share == pytest.approx(20 / 21)
    assert not piece[8, 8, 8]
    with pytest.raises(ValueError, match="empty"):
        measure_brain(np.zeros((4, 4, 4), bool), SPACING)


def test_filling_closes_holes_and_nothing_else() -> None:
    shell = ellipsoid((60, 60, 60)) & ~ellipsoid((40, 40, 40))
    np.testing.assert_array_equal(fill_holes(shell), ellipsoid((60, 60, 60)))
    bowl = shell & (Z < 28)
    np.testing.assert_array_equal(fill_holes(bowl), bowl)
    empty = np.zeros((3, 3, 3), bool)
    assert not fill_holes(empty).any()


@pytest.mark.parametrize("widened", [False, True])
def test_the_plain_mask_is_the_tools_own_with_holes_filled_and_the_widened_one_is_told(
    monkeypatch: pytest.MonkeyPatch, widened: bool
) -> None:
    data = whole_head()
    lesion = ellipsoid((24, 30, 24), (44, 0, 26)) & BRAIN
    data[lesion] = 80
    rim = BRAIN & ~np.asarray(ndimage.binary_erosion(BRAIN))
    cut = BRAIN & ~(lesion & rim)
    assert (lesion & ~cut).any()
    hole = ellipsoid((12, 12, 12), (-20, 0, 20))
    scrap = ellipsoid((8, 8, 8), (0, 0, -90))
    made = (cut & ~hole) | scrap
    monkeypatch.setattr("datasets.brain.run_extractor", lambda *_: made)
    found = extract_brain(volume_of(data), scan_of(), widened=widened)
    said = any("widened the brain mask by" in note for note in found.notes)
    assert said == widened
    if widened:
        assert (lesion & ~found.mask_XYZ).sum() < (lesion & ~cut).sum()
    else:
        np.testing.assert_array_equal(found.mask_XYZ, cut)


def test_importing_loads_no_torch_and_the_tool_is_named_without_it() -> None:
    code = (
        "import sys, datasets.shards; from datasets.extractors import extractor_identity as e;"
        "print(e('deepbet'), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["deepbet", "1.0.2", "False"]


@pytest.mark.slow
def test_what_holds_no_head_is_set_aside_by_deepbet_after_two_tries() -> None:
    noise = np.random.default_rng(0).standard_normal((30, 30, 30))
    with pytest.raises(ScanError, match=r"first settings.*\|.*second settings"):
        extract_brain(volume_of(noise), scan_of(), limits=LIMITS)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA error: an illegal memory access was encountered", RuntimeError),
        ("Input and output sizes should be greater than 0, but got 0", ScanError),
    ],
)
def test_what_fails_in_deepbet_for_the_machines_sake_is_not_the_scans_fault(
    monkeypatch: pytest.MonkeyPatch, message: str, expected: type[Exception]
) -> None:
    class Failing:
        def run_model(self, image: object) -> None:
            raise RuntimeError(message)

    monkeypatch.setattr("datasets.extractors._deepbet", Failing)
    with pytest.raises(expected, match=message[:10]):
        extract_brain(volume_of(whole_head(background=3)), scan_of())
