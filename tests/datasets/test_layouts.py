"""Names of public data sets, and of masks, beyond those of the paper's four."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datasets.errors import NothingFoundError
from datasets.scan import USUAL_MODALITIES, Scan
from datasets.sources import atlas, bids, brats
from tests.listings import ids, masks, put, reasons


def only(scans: tuple[Scan, ...]) -> Scan:
    (scan,) = scans
    return scan


@pytest.mark.parametrize(
    ("image", "mask", "scan_id"),
    [
        ("HGG/Brats17_A_1/t1.nii.gz", "HGG/Brats17_A_1/seg.nii.gz", "Brats17_A_1_T1w"),
        ("case7/t2.nii", "case7/seg.nii", "case7_T2w"),
        (
            "images_structural/UPENN-GBM-00002_21/UPENN-GBM-00002_21_T2.nii.gz",
            "images_segm/UPENN-GBM-00002_21_segm.nii.gz",
            "UPENN-GBM-00002_21_T2w",
        ),
        (
            "images_structural/UPENN-GBM-00003_11/UPENN-GBM-00003_11_T1.nii.gz",
            "automated_segm/UPENN-GBM-00003_11_automated_approx_segm.nii.gz",
            "UPENN-GBM-00003_11_T1w",
        ),
        (
            "UCSF-PDGM-0005_nifti/UCSF-PDGM-0005_T2.nii.gz",
            "UCSF-PDGM-0005_nifti/UCSF-PDGM-0005_tumor_segmentation.nii.gz",
            "UCSF-PDGM-0005_T2w",
        ),
        (
            "BraTS2021_00002/BraTS2021_00002_t1.nii/00000003_brain_t1.nii",
            "BraTS2021_00002/BraTS2021_00002_seg.nii/00000003_final_seg.nii",
            "BraTS2021_00002_T1w",
        ),
        ("imagesTr/BRATS_004.nii.gz", "labelsTr/BRATS_004.nii.gz", "BRATS_004_T1w"),
    ],
)
def test_brats_takes_the_names_of_those_who_took_its_over(
    tmp_path: Path, image: str, mask: str, scan_id: str
) -> None:
    put(tmp_path, image, mask)
    listing = brats.list_scans(tmp_path, USUAL_MODALITIES)
    scan = next(scan for scan in listing.scans if scan.scan_id == scan_id)
    assert scan.image == tmp_path / image
    assert masks(tmp_path, scan) == [mask]
    assert scan.stripped is True
    assert listing.skipped == ()


def test_brats_prefers_the_mask_that_a_person_has_drawn(tmp_path: Path) -> None:
    case = "UPENN-GBM-00002_11"
    drawn, made = f"s/{case}_segm.nii.gz", f"s/{case}_automated_approx_segm.nii.gz"
    put(tmp_path, f"i/{case}_T1.nii.gz", drawn, made, f"i/{case}_T1GD.nii.gz")
    listing = brats.list_scans(tmp_path, ("T1w",))
    assert masks(tmp_path, only(listing.scans)) == [drawn]
    assert "beside a better mask" in reasons(listing)[Path(made).name]
    assert reasons(listing)[f"{case}_T1GD.nii.gz"] == "another contrast (t1gd)"


def test_brats_mask_elsewhere_is_not_lent_from_an_image_of_the_same_name(tmp_path: Path) -> None:
    put(tmp_path, "a/c/c_t1.nii", "a/c/c_seg.nii", "b/c/c_t1.nii")
    listing = brats.list_scans(tmp_path, ("T1w",))
    assert {s.image.parent.parent.name: len(s.lesion_masks) for s in listing.scans} == {"a": 1}
    assert listing.scans[0].alternatives[0].lesion_masks == ()


def test_decathlon_says_which_volume_is_which(tmp_path: Path) -> None:
    put(tmp_path, "imagesTr/BRATS_004.nii.gz", "imagesTs/BRATS_009.nii.gz")
    listing = brats.list_scans(tmp_path, ("T1w", "T2w"))
    assert {scan.modality: scan.volume for scan in listing.scans} == {"T1w": 1, "T2w": 3}
    assert "without labels" in reasons(listing)["BRATS_009.nii.gz"]
    order = {"modality": {"0": "T2w", "1": "T1w"}}
    (tmp_path / "dataset.json").write_text(json.dumps(order))
    listing = brats.list_scans(tmp_path, ("T1w", "T2w"))
    assert {scan.modality: scan.volume for scan in listing.scans} == {"T1w": 1, "T2w": 0}


@pytest.mark.parametrize(
    "name",
    [
        "derivatives/labels/sub-m/anat/sub-m_T1w_lesion-manual.nii.gz",
        "sub-m/anat/sub-m_T1w_lesion-manual-rater2.nii.gz",
        "sub-m/anat/sub-m_tumor-seg.nii.gz",
        "sub-m/anat/sub-m_T1w_lesionseg.nii.gz",
        "sub-m/anat/sub-m_wmh.nii.gz",
        "derivatives/sub-m/sub-m_msk.nii.gz",
        "derivatives/x/sub-m/anat/sub-m_desc-infarction_dseg.nii.gz",
        "derivatives/x/sub-m/anat/sub-m_label-GTV_mask.nii.gz",
    ],
)
def test_bids_knows_the_names_of_lesion_masks_in_use(tmp_path: Path, name: str) -> None:
    put(tmp_path, "sub-m/anat/sub-m_T1w.nii.gz", name)
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert masks(tmp_path, only(listing.scans)) == [name]


@pytest.mark.parametrize(
    "name", ["sub-m_roi", "sub-m_T1w_seg-manual", "sub-m_desc-auto_mask", "sub-m_labels"]
)
def test_bids_names_what_looks_like_a_mask_and_is_not_understood(tmp_path: Path, name: str) -> None:
    put(tmp_path, "sub-m/anat/sub-m_T1w.nii.gz", f"sub-m/anat/{name}.nii.gz")
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert only(listing.scans).lesion_masks == ()
    assert '"Type": "Lesion"' in reasons(listing)[f"{name}.nii.gz"]


@pytest.mark.parametrize("place", ["sub-m/anat/sub-m_desc-auto_mask", "desc-auto_mask", "mask"])
def test_bids_asks_the_json_beside_a_mask_or_above_it(tmp_path: Path, place: str) -> None:
    mask = "sub-m/anat/sub-m_desc-auto_mask.nii.gz"
    put(tmp_path, "sub-m/anat/sub-m_T1w.nii.gz", mask)
    (tmp_path / f"{place}.json").write_text('{"Type": "Lesion"}')
    assert masks(tmp_path, only(bids.list_scans(tmp_path, USUAL_MODALITIES).scans)) == [mask]
    (tmp_path / f"{place}.json").write_text('{"Type": "Brain"}')
    scan = only(bids.list_scans(tmp_path, USUAL_MODALITIES).scans)
    assert (scan.lesion_masks, scan.brain_mask) == ((), tmp_path / mask)


@pytest.mark.parametrize("text", ["[", '["Type"]', '{"Type": 3}', "", '{"Type": "ROI"}'])
def test_bids_json_that_says_nothing_of_use_is_passed_over(tmp_path: Path, text: str) -> None:
    put(tmp_path, "sub-m/anat/sub-m_T1w.nii.gz", "sub-m/anat/sub-m_roi.nii.gz")
    (tmp_path / "sub-m/anat/sub-m_roi.json").write_text(text)
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert "looks like a mask" in reasons(listing)["sub-m_roi.nii.gz"]


def test_bids_takes_those_labels_of_a_segmentation_that_its_table_calls_a_lesion(
    tmp_path: Path,
) -> None:
    mask = "derivatives/x/sub-m/anat/sub-m_dseg.nii.gz"
    put(tmp_path, "sub-m/anat/sub-m_T1w.nii.gz", mask)
    table = tmp_path / "derivatives/x/dseg.tsv"
    table.write_text(
        "index\tname\n1\twhite matter\n5\tchronic stroke\n9\tTumour core\n12\tperilesion\n"
    )
    scan = only(bids.list_scans(tmp_path, USUAL_MODALITIES).scans)
    assert scan.lesion_labels == ((tmp_path / mask, (5, 9)),)
    table.write_text("index\tname\n1\twhite matter\n2\tgrey matter\n")
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert only(listing.scans).lesion_masks == ()
    assert "not the lesion" in reasons(listing)["sub-m_dseg.nii.gz"]


@pytest.mark.parametrize(
    "name",
    [
        "sub-1_ce-gadolinium_T1w",
        "sub-1_acq-postGd_T1w",
        "sub-1_acq-T1ce_T1w",
        "sub-1_part-imag_T1w",
        "sub-1_part-phase_T2w",
        "sub-1_mt-on_T1w",
    ],
)
def test_bids_image_of_another_contrast_is_passed_over(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"sub-1/anat/{name}.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz")
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert ids(listing) == ["2_T1w"]
    assert any(word in reasons(listing)[f"{name}.nii.gz"] for word in ("contrast", "magnitude"))


@pytest.mark.parametrize(
    "name",
    [
        "sub-1_acq-preGd_T1w",
        "sub-1_acq-noncontrast_T1w",
        "sub-1_part-mag_T1w",
        "sub-1_ce-none_T1w",
        "sub-1_acq-space_T1w",
        "sub-1_acq-gradientecho_T1w",
        "sub-1_task-rest_T1w",
    ],
)
def test_bids_image_without_an_agent_is_taken(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"sub-1/anat/{name}.nii.gz")
    assert ids(bids.list_scans(tmp_path, USUAL_MODALITIES)) == ["1_T1w"]


def test_isles_2022_is_a_bids_folder(tmp_path: Path) -> None:
    case = "sub-strokecase0001"
    mask = f"derivatives/{case}/ses-0001/{case}_ses-0001_msk.nii.gz"
    put(
        tmp_path,
        f"{case}/ses-0001/anat/{case}_ses-0001_T1w.nii.gz",
        f"{case}/ses-0001/dwi/{case}_ses-0001_dwi.nii.gz",
        mask,
    )
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert masks(tmp_path, only(listing.scans)) == [mask]


def test_files_that_were_not_fetched_are_called_so(tmp_path: Path) -> None:
    put(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz")
    folder = tmp_path / "sub-1/anat"
    (folder / "sub-1_run-2_T1w.nii.gz").symlink_to("../../.git/annex/objects/ab/cd/MD5E-x.nii.gz")
    (folder / "sub-1_run-3_T1w.nii.gz").write_text("version https://git-lfs.github.com/spec/v1\n")
    (folder / "sub-1_run-4_T1w.nii.gz").write_text("/annex/objects/MD5E-s12--ab.nii.gz\n")
    said = reasons(bids.list_scans(tmp_path, USUAL_MODALITIES))
    assert "git-annex link" in said["sub-1_run-2_T1w.nii.gz"]
    assert "Git LFS" in said["sub-1_run-3_T1w.nii.gz"]
    assert "git-annex pointer" in said["sub-1_run-4_T1w.nii.gz"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a/IM1.dcm", "DICOM"),
        ("a/x.mif.gz", "MRtrix"),
        ("a/x.nrrd", "NRRD"),
        ("x.tar.gz", "archive"),
    ],
)
def test_images_in_other_formats_are_named_with_what_to_do(
    tmp_path: Path, name: str, words: str
) -> None:
    put(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", name)
    said = reasons(bids.list_scans(tmp_path, USUAL_MODALITIES))[Path(name).name]
    assert words in said
    assert "convert" in said or "unpack" in said


def test_what_is_found_instead_of_a_layout_is_named(tmp_path: Path) -> None:
    put(tmp_path, "deep/one.nii.gz", "deep/two.nii.gz")
    with pytest.raises(NothingFoundError, match=r"it holds deep/one.nii.gz and 1 more images"):
        bids.list_scans(tmp_path, USUAL_MODALITIES)


@pytest.mark.parametrize(
    ("image", "other"),
    [
        ("p/BraTS20_Training_001_t1.nii", "p/BraTS20_Training_002_seg.nii"),
        ("p/v1_t1.nii", "p/v2_seg.nii"),
        ("p/p_t1.nii", "p/p_hippocampus_seg.nii"),
        ("A/A_t1.nii", "A/B_segm.nii"),
    ],
)
def test_brats_mask_of_another_case_is_not_lent(tmp_path: Path, image: str, other: str) -> None:
    put(tmp_path, image, other, "B/B_flair.nii", "B/v2_t1ce.nii")
    listing = brats.list_scans(tmp_path, ("T1w",))
    assert only(listing.scans).lesion_masks == ()
    assert "without an image of its own" in reasons(listing)[Path(other).name]


def test_brats_mask_of_the_nearest_folder_counts_and_none_of_two_as_near(tmp_path: Path) -> None:
    put(tmp_path, "s1/im/001_t1.nii", "s1/lab/001_seg.nii", "s2/lab/001_seg.nii")
    listing = brats.list_scans(tmp_path, ("T1w",))
    assert masks(tmp_path, only(listing.scans)) == ["s1/lab/001_seg.nii"]
    put(tmp_path, "s1/more/001_seg.nii")
    assert only(brats.list_scans(tmp_path, ("T1w",)).scans).lesion_masks == ()


def test_decathlon_gives_its_labels_to_every_image_of_a_case(tmp_path: Path) -> None:
    put(tmp_path, "imagesTr/BRATS_1.nii", "imagesTr/BRATS_1.nii.gz", "labelsTr/BRATS_1.nii")
    scan = only(brats.list_scans(tmp_path, ("T1w",)).scans)
    assert len(scan.lesion_masks) == len(scan.alternatives[0].lesion_masks) == 1


@pytest.mark.parametrize(
    "name",
    [
        "label-lesion_desc-FLAIR_mask",
        "desc-dwi_label-lesion_mask",
        "label-lesionFLAIR_mask",
        "desc-lesionDWI_mask",
        "label-lesion_from-T2w_mask",
        "flair_lesion",
        "T2_lesion",
        "desc-notlesion_mask",
        "desc-inverselesion_mask",
        "desc-stroke_brainmask",
    ],
)
def test_bids_mask_of_another_image_or_of_no_lesion_is_not_laid_over_a_t1w(
    tmp_path: Path, name: str
) -> None:
    put(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", f"derivatives/x/sub-1/anat/sub-1_{name}.nii.gz")
    assert only(bids.list_scans(tmp_path, USUAL_MODALITIES).scans).lesion_masks == ()


def test_atlas_mask_with_another_subject_in_its_name_is_not_taken(tmp_path: Path) -> None:
    put(tmp_path, "c/c0001s0004t01_t1w_stx.nii", "c/c0001s0005t01_LesionSmooth_stx.nii")
    listing = atlas.list_scans(tmp_path, ("T1w",))
    assert only(listing.scans).lesion_masks == ()


def test_atlas_in_one_folder_is_listed_in_no_time(tmp_path: Path) -> None:
    """Thousands of masks each looked for among thousands of images took hours."""
    put(tmp_path, *(f"c{i:04d}s0001t01_t1w_stx.nii" for i in range(1500)))
    put(tmp_path, *(f"c{i:04d}s0001t01_LesionSmooth_stx.nii" for i in range(1500)))
    listing = atlas.list_scans(tmp_path, ("T1w",))
    assert [len(scan.lesion_masks) for scan in listing.scans] == [1] * 1500
