from __future__ import annotations

from pathlib import Path

import pytest

from datasets.scan import USUAL_MODALITIES
from datasets.sources import bids
from tests.listings import ids, masks, put, reasons


@pytest.mark.parametrize(
    "mask",
    [
        "sub-01/ses-a/anat/sub-01_ses-a_label-lesion_mask.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_desc-lesion_mask.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_label-L_mask.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_label-L_desc-T1lesion_mask.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_lesion_roi.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w_label-lesion_roi.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_space-T1w_desc-lesion_mask.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_space-orig_label-lesion_dseg.nii.gz",
        "derivatives/lesions/sub-01/ses-a/anat/sub-01_ses-a_label-lesion_mask.nii.gz",
        "derivatives/sub-01/ses-a/sub-01_ses-a_lesionmask.nii",
        "derivatives/a/b/c/sub-01_ses-a_acq-mprage_T1w_desc-lesion_mask.nii.gz",
        "derivatives/lesions/sub-01/sub-01_lesion.nii.gz",
    ],
)
def test_bids_lesion_mask_belongs_to_its_image(tmp_path: Path, mask: str) -> None:
    put(tmp_path, "sub-01/ses-a/anat/sub-01_ses-a_acq-mprage_T1w.nii.gz", mask)
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert ids(listing) == ["01_a_T1w"]
    assert masks(tmp_path, listing.scans[0]) == [mask]
    assert listing.skipped == ()


@pytest.mark.parametrize(
    "mask",
    [
        "sub-02/ses-a/anat/sub-02_ses-a_label-lesion_mask.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_label-lesion_mask.nii.gz",
        "derivatives/lesions/sub-01/ses-b/anat/sub-01_label-lesion_mask.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_space-FLAIR_label-lesion_mask.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_FLAIR_desc-lesion_mask.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_space-T2w_label-lesion_mask.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w_space-T2w_label-lesion_mask.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_desc-T2lesion_mask.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_acq-other_label-lesion_mask.nii.gz",
        "derivatives/x/sub-01/ses-a/anat/sub-01_ses-a_space-MNI152_label-lesion_mask.nii.gz",
    ],
)
def test_bids_lesion_mask_of_something_else_is_reported(tmp_path: Path, mask: str) -> None:
    put(tmp_path, "sub-01/ses-a/anat/sub-01_ses-a_acq-mprage_T1w.nii.gz", mask)
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert ids(listing) == ["01_a_T1w"]
    assert listing.scans[0].lesion_masks == ()
    assert "a lesion mask that belongs to no" in reasons(listing)[Path(mask).name]


@pytest.mark.parametrize(
    "name",
    [
        "label-brainstem_mask",
        "hemi-L_label-brain_mask",
        "label-nonlesion_mask",
        "desc-lesionfree_mask",
        "desc-perilesion_mask",
        "desc-mirroredlesion_mask",
    ],
)
def test_bids_mask_of_a_part_or_of_what_is_no_lesion_is_reported(tmp_path: Path, name: str) -> None:
    put(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", f"derivatives/x/sub-01/anat/sub-01_{name}.nii")
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert (listing.scans[0].lesion_masks, listing.scans[0].brain_mask) == ((), None)
    assert "a part of the brain" in reasons(listing)[f"sub-01_{name}.nii"]


def test_bids_mask_without_a_session_is_not_guessed_among_several(tmp_path: Path) -> None:
    put(
        tmp_path,
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz",
        "derivatives/lesions/sub-01/anat/sub-01_label-lesion_mask.nii.gz",
    )
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert [scan.lesion_masks for scan in listing.scans] == [(), ()]
    assert len(listing.skipped) == 1


def test_bids_mask_without_a_modality_belongs_to_both_images(tmp_path: Path) -> None:
    mask = "derivatives/lesions/sub-07/anat/sub-07_label-lesion_mask.nii.gz"
    put(tmp_path, "sub-07/anat/sub-07_T1w.nii.gz", "sub-07/anat/sub-07_T2w.nii.gz", mask)
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert ids(listing) == ["07_T1w", "07_T2w"]
    assert [masks(tmp_path, scan) for scan in listing.scans] == [[mask], [mask]]


def test_bids_subject_named_after_its_illness_is_no_mask(tmp_path: Path) -> None:
    put(tmp_path, "sub-stroke01/anat/sub-stroke01_T1w.nii.gz")
    put(tmp_path, "sub-stroke01/anat/sub-stroke01_desc-brain_mask.nii.gz")
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert listing.scans[0].lesion_masks == ()
    assert listing.scans[0].brain_mask is not None


def test_bids_brain_mask_beside_the_image_comes_first(tmp_path: Path) -> None:
    put(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_brainmask.nii.gz",
        "derivatives/a/sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "derivatives/a/sub-01/func/sub-01_task-rest_desc-brain_mask.nii.gz",
    )
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert listing.scans[0].brain_mask == tmp_path / "sub-01/anat/sub-01_brainmask.nii.gz"
    said = reasons(listing)
    assert list(said) == ["sub-01_desc-brain_mask.nii.gz", "func"]
    assert "'func', which are not looked into" in said["func"]


def test_bids_of_several_runs_the_labelled_one_is_used(tmp_path: Path) -> None:
    put(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_run-02_T1w.nii.gz",
        "derivatives/x/sub-01_run-2_T1w_desc-lesion_mask.nii.gz",
        "sub-02/anat/sub-02_acq-a_run-1_T1w.nii.gz",
        "sub-02/anat/sub-02_acq-a_T1w.nii.gz",
    )
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert [scan.image.name for scan in listing.scans] == [
        "sub-01_run-02_T1w.nii.gz",
        "sub-02_acq-a_T1w.nii.gz",
    ]
    assert set(reasons(listing)) == {"sub-01_T1w.nii.gz", "sub-02_acq-a_run-1_T1w.nii.gz"}


def test_bids_misplaced_images_are_reported(tmp_path: Path) -> None:
    put(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_FLAIR.nii.gz",
        "sub-01/anat/sub-01_T1.nii.gz",
        "sub-01/anat/sub-02_T1w.nii.gz",
        "sub-03/sub-03_T1w.nii.gz",
        "sourcedata/sub-04/anat/sub-04_T1w.nii.gz",
        "derivatives/x/sub-05/anat/sub-05_desc-preproc_T1w.nii.gz",
    )
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert ids(listing) == ["01_T1w"]
    said = reasons(listing)
    assert "in derivatives" in said.pop("sub-05_desc-preproc_T1w.nii.gz")
    assert "another contrast" in said.pop("sub-01_FLAIR.nii.gz")
    assert "not looked into" in said.pop("sourcedata")
    assert set(said) == {"sub-01_T1.nii.gz", "sub-02_T1w.nii.gz", "sub-03_T1w.nii.gz"}
    assert "folder sub-01" in said["sub-02_T1w.nii.gz"]
