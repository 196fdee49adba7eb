"""The contrast of an image against its name and its cohort, on heads of the phantom."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from datasets.contrast import (
    _squared_depth,
    contradiction,
    measure_contrast,
    no_magnetic_resonance,
    odd_ones,
)
from datasets.manifest import ContrastMeasures, ScanRecord
from datasets.phantom import writer
from datasets.phantom.anatomy import Anatomy, draw_subject, look_at
from datasets.phantom.layouts import LAYOUTS, LayoutName
from datasets.phantom.settings import PhantomOptions
from datasets.scan import MODALITIES, Modality, Scan
from datasets.settings import PreprocessSettings
from datasets.shards import contrast_of, process_scan, read_slices
from datasets.storage import Storage

Image = NDArray[np.float32]


@cache
def anatomy(layout: LayoutName, index: int) -> Anatomy:
    one = LAYOUTS[layout]
    rng = np.random.default_rng([0, one.number, index, 0])
    return look_at(draw_subject(rng, one.pose), one.views["T1w"].grid(3.0, 4.0))


@cache
def head(layout: LayoutName, index: int, modality: Modality) -> tuple[Image, NDArray[np.bool_]]:
    """A stripped head without a lesion, and its brain."""
    options = PhantomOptions(layout=layout, subjects=9, more_modalities=("FLAIR",))
    inside = anatomy(layout, index)
    image = writer.scan_voxels(options, index, modality, inside, ())
    return np.where(inside.brain, image, 0).astype(np.float32), inside.brain


def measures(layout: LayoutName, index: int, modality: Modality) -> ContrastMeasures:
    image, brain = head(layout, index, modality)
    slices, masks = np.moveaxis(image, 2, 0), np.moveaxis(brain, 2, 0)
    keep = masks.mean(axis=(1, 2)) > 0.05
    found = measure_contrast(slices[keep], masks[keep], np.zeros_like(masks[keep]), 3.0)
    assert found is not None
    return found


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("modality", MODALITIES)
def test_an_image_passes_under_its_own_name(modality: Modality, index: int) -> None:
    assert contradiction(measures("ixi", index, modality), modality) == ""


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    ("shown", "named", "says"),
    [
        ("T2w", "T1w", "the contrast of T2w"),
        ("T1w", "T2w", "the contrast of T1w or FLAIR"),
        ("FLAIR", "T2w", "the contrast of T1w or FLAIR"),
    ],
)
def test_an_image_under_another_name_is_told(
    shown: Modality, named: Modality, says: str, index: int
) -> None:
    assert says in contradiction(measures("ixi", index, shown), named)


@pytest.mark.parametrize("most", [1, 9, 40, 200])
def test_depth_is_the_distance_to_what_is_outside_as_far_as_it_matters(most: int) -> None:
    noise = np.random.default_rng(0).random((4, 90, 70))
    brain = ndimage.gaussian_filter(noise, (0, 8, 8)) > 0.495
    brain[3] = True
    expected = np.stack([ndimage.distance_transform_edt(np.pad(b, 1)) for b in brain])
    expected = expected[:, 1:-1, 1:-1]
    found = np.sqrt(_squared_depth(brain, most).astype(np.float64))
    near = expected <= most
    assert (near & brain).any()
    np.testing.assert_array_equal(found[near], expected[near])
    assert (found[~near] > most).all()


def test_neither_scaling_nor_a_lesion_changes_the_measures() -> None:
    image, brain = head("brats", 0, "T1w")
    slices, masks = np.moveaxis(image, 2, 0)[15:30], np.moveaxis(brain, 2, 0)[15:30]
    none = np.zeros_like(masks)
    plain = measure_contrast(slices, masks, none, 3.0)
    lesion = none.copy()
    lesion[3:9, 20:30, 20:40] = True
    spoilt = np.where(lesion, 50 * slices.max(), slices)
    assert measure_contrast(slices * 7.0, masks, none, 3.0) == plain
    hidden = measure_contrast(spoilt, masks, lesion, 3.0)
    assert hidden is not None
    assert hidden == measure_contrast(slices, masks, lesion, 3.0)


@pytest.mark.parametrize("mask", ["empty", "thin", "dark"])
def test_what_cannot_be_compared_is_not_measured(mask: str) -> None:
    brain = np.zeros((3, 40, 40), bool)
    if mask != "empty":
        brain[:, 5:35, 5 : 8 if mask == "thin" else 35] = True
    images = np.full(brain.shape, 0.0 if mask == "dark" else 1.0, np.float32)
    assert measure_contrast(images, brain, np.zeros_like(brain), 2.0) is None


def test_ct_and_maps_of_labels_are_no_magnetic_resonance() -> None:
    image, brain = head("ixi", 0, "T1w")
    assert no_magnetic_resonance(image, brain) == ""
    assert no_magnetic_resonance(np.rint(image / 40), brain) == ""  # few shades are shades
    hounsfield = np.where(brain, 30 + image / 100, -1000).astype(np.float32)
    assert "as air is on CT" in no_magnetic_resonance(hounsfield, brain)
    inside = anatomy("ixi", 0)
    tissue = np.argmax([inside.fluid, inside.grey, inside.white], axis=0)
    x, y, _ = np.indices(brain.shape)
    labels = np.where(brain, 1000 + tissue + 3 * (x // 12) + 30 * (y // 16), 0).astype(np.float32)
    assert len(np.unique(labels)) > 20
    assert "as in a map of labels" in no_magnetic_resonance(labels, brain)


def cohort() -> list[ContrastMeasures]:
    return [measures("ixi", index, "T1w") for index in range(7)]


def test_nothing_is_odd_in_a_cohort_of_one_modality() -> None:
    for modality in MODALITIES:
        assert odd_ones([measures("ixi", i, modality) for i in range(7)], modality) == [""] * 7


@pytest.mark.parametrize("odd", ["FLAIR", "proton density", "contrast agent"])
def test_the_odd_one_of_a_cohort_is_told_and_no_other(odd: str) -> None:
    image, brain = head("ixi", 8, "FLAIR" if odd == "FLAIR" else "T1w")
    inside = anatomy("ixi", 8)
    if odd == "proton density":
        image = np.where(brain, 95 * inside.fluid + 100 * inside.grey + 85 * inside.white, 0)
    elif odd == "contrast agent":  # vessels and the rim of the brain light up
        rng = np.random.default_rng(0)
        vessels = brain & (inside.depth > -6) & (rng.random(brain.shape) < 0.08)
        image = np.where(vessels, 2.2 * np.median(image[brain]), image)
    slices, masks = np.moveaxis(image, 2, 0), np.moveaxis(brain, 2, 0)
    stranger = measure_contrast(slices[12:40], masks[12:40], np.zeros_like(masks[12:40]), 3.0)
    notes = odd_ones([*cohort(), stranger, None], "T1w")
    assert [bool(note) for note in notes] == [False] * 7 + [True, False]
    few = odd_ones([*cohort()[:3], stranger], "T1w")
    assert few[:3] == [""] * 3
    if odd == "contrast agent":
        assert notes[7].startswith("the contrast is not that of the others: the brightest")
        assert not few[3]  # too few to say who is the odd one
    else:
        assert few[3] == notes[7]
        assert "no brighter than grey, as on FLAIR or proton density" in notes[7]


def prepared(tmp_path: Path, shown: Modality, named: Modality) -> tuple[Storage, ScanRecord]:
    image, _ = head("ixi", 1, shown)
    path = tmp_path / f"sub-1_{named}.nii.gz"
    affine = anatomy("ixi", 1).grid.affine()
    nib.Nifti1Image(image, affine).to_filename(path)
    storage = Storage.open(str(tmp_path / "store"))
    scan = Scan("1", "", named, path, stripped=True)
    settings = PreprocessSettings()
    return storage, process_scan(scan, "c", "train", settings, "0" * 20, storage)


def test_a_scan_with_anothers_contrast_is_set_aside_with_its_file(tmp_path: Path) -> None:
    _, record = prepared(tmp_path, "T2w", "T1w")
    assert record.status == "quarantined"
    assert "sub-1_T1w.nii.gz is no T1w image: it has the contrast of T2w" in record.reason


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_older_record_is_measured_on_its_slices_alike(
    modality: Modality, tmp_path: Path
) -> None:
    storage, record = prepared(tmp_path, modality, modality)
    assert record.status == "ok", record.reason
    assert record.contrast is not None
    older = record.model_copy(update={"contrast": None})
    assert contrast_of(older, read_slices(storage, record)) == record.contrast
