from __future__ import annotations

from pathlib import Path

import pytest

from datasets.errors import SourceError
from datasets.mask_folder import with_masks
from datasets.scan import USUAL_MODALITIES, Listing
from datasets.sources import atlas, bids, brats
from tests.listings import ids, put, reasons


def found(listing: Listing) -> dict[str, list[str]]:
    return {scan.scan_id: [path.name for path in scan.lesion_masks] for scan in listing.scans}


@pytest.mark.parametrize(
    "name",
    ["sub-01_T1w.nii.gz", "01/mask.nii", "a/sub-01_lesion.nii", "rater-A_01_T1w.nii.gz", "01.nii"],
)
def test_a_mask_belongs_to_the_subject_that_its_path_names(tmp_path: Path, name: str) -> None:
    put(tmp_path / "scans", *(f"sub-{n}/anat/sub-{n}_T1w.nii.gz" for n in ("01", "011")))
    put(tmp_path / "drawn", name)
    listing = bids.list_scans(tmp_path / "scans", USUAL_MODALITIES)
    listing = with_masks(listing, tmp_path / "scans", tmp_path / "drawn")
    assert found(listing) == {"01_T1w": [Path(name).name], "011_T1w": []}


@pytest.mark.parametrize(
    "case", ["BraTS-GLI-00001-000", "BraTS20_Training_001", "UPENN-GBM-00001_11"]
)
def test_labels_of_several_parts_are_found_whole(tmp_path: Path, case: str) -> None:
    put(tmp_path / "scans", f"{case}/{case}_t1.nii.gz", f"{case}9/{case}9_t1.nii.gz")
    put(tmp_path / "drawn", f"{case}-tumour.nii.gz")
    listing = brats.list_scans(tmp_path / "scans", ("T1w",))
    listing = with_masks(listing, tmp_path / "scans", tmp_path / "drawn")
    assert [len(masks) for masks in found(listing).values()] == [1, 0]


def test_sessions_and_modalities_that_a_path_names_are_kept_apart(tmp_path: Path) -> None:
    for ses in "12":
        for end in ("T1w", "T2w"):
            put(tmp_path / "scans", f"sub-x/ses-{ses}/anat/sub-x_ses-{ses}_{end}.nii.gz")
    put(tmp_path / "drawn", "sub-x_ses-1_T2w.nii", "sub-x_ses-2.nii", "sub-x.nii")
    listing = bids.list_scans(tmp_path / "scans", ("T1w", "T2w"))
    listing = with_masks(listing, tmp_path / "scans", tmp_path / "drawn")
    assert found(listing) == {
        "x_1_T1w": [],
        "x_1_T2w": ["sub-x_ses-1_T2w.nii"],
        "x_2_T1w": ["sub-x_ses-2.nii"],
        "x_2_T2w": ["sub-x_ses-2.nii"],
    }
    assert "no scan of the cohort, or to several" in reasons(listing)["sub-x.nii"]


def test_time_points_that_are_written_onto_the_subject_are_found(tmp_path: Path) -> None:
    for t in ("01", "02"):
        put(tmp_path / "scans", f"c0001/c0001s0004t{t}/c0001s0004t{t}_t1w_stx.nii.gz")
    put(tmp_path / "drawn", "c0001s0004t02_by_hand.nii.gz")
    listing = atlas.list_scans(tmp_path / "scans", ("T1w",))
    listing = with_masks(listing, tmp_path / "scans", tmp_path / "drawn")
    assert [len(masks) for masks in found(listing).values()] == [0, 1]


def test_masks_of_the_folder_replace_those_beside_the_images(tmp_path: Path) -> None:
    scans, drawn = tmp_path / "scans", tmp_path / "scans/derivatives/drawn"
    put(scans, "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_label-lesion_mask.nii.gz")
    put(drawn, "sub-1_roi.nii.gz", "sub-1_brain_mask.nii.gz", "notes.txt")
    before = bids.list_scans(scans, USUAL_MODALITIES)
    listing = with_masks(before, scans, drawn)
    assert found(listing) == {"1_T1w": ["sub-1_roi.nii.gz"]}
    assert "replace" in reasons(listing)["sub-1_label-lesion_mask.nii.gz"]
    assert listing.scans[0].brain_mask == drawn / "sub-1_brain_mask.nii.gz"
    assert listing.n_files == before.n_files == 5


def test_masks_of_the_brain_are_no_lesions(tmp_path: Path) -> None:
    put(tmp_path / "scans", "sub-1/anat/sub-1_T1w.nii.gz")
    put(tmp_path / "drawn", "sub-1_brain.nii", "sub-1_brain_lesion.nii")
    listing = bids.list_scans(tmp_path / "scans", USUAL_MODALITIES)
    listing = with_masks(listing, tmp_path / "scans", tmp_path / "drawn")
    assert found(listing) == {"1_T1w": ["sub-1_brain_lesion.nii"]}
    assert "something else" in reasons(listing)["sub-1_brain.nii"]


def test_a_mask_in_a_folder_that_is_not_looked_into_is_counted_once(tmp_path: Path) -> None:
    put(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sourcedata/m/sub-1.nii", "sourcedata/a.txt")
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    listing = with_masks(listing, tmp_path, tmp_path / "sourcedata/m")
    assert found(listing) == {"1_T1w": ["sub-1.nii"]}
    assert (listing.n_files, sum(item.n_files for item in listing.skipped)) == (3, 1)


def test_an_unusable_mask_takes_its_scan_along(tmp_path: Path) -> None:
    put(tmp_path / "scans", "sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz")
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn/sub-1.nii").symlink_to("nowhere")
    listing = bids.list_scans(tmp_path / "scans", USUAL_MODALITIES)
    listing = with_masks(listing, tmp_path / "scans", tmp_path / "drawn")
    assert ids(listing) == ["2_T1w"]
    assert "is unusable: a link" in reasons(listing)["sub-1_T1w.nii.gz"]


def test_a_folder_of_masks_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    put(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz")
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    with pytest.raises(SourceError, match="drawn does not exist: expected a folder with lesion"):
        with_masks(listing, tmp_path, tmp_path / "drawn")


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("sub-02_run-01_mask.nii", "02"),
        ("sub-02_ses-01_mask.nii", ""),
        ("rater-01/02_mask.nii", "02"),
        ("batch-01/sub-02_mask.nii", "02"),
        ("01_and_02.nii", ""),
        ("sub-03_run-01.nii", ""),
        ("sub-02_ses-9_lesion.nii", ""),
        ("sub-02_dwi_lesion.nii", ""),
        ("sub-02_space-MNI152_lesion.nii", ""),
        ("sub-02_perilesion.nii", ""),
        ("sub-02_label-GM_probseg.nii", ""),
        ("sub-02_contralesional.nii", ""),
        ("sub-02_bet_mask.nii", ""),
    ],
)
def test_a_mask_is_never_lent_to_another_subject_session_or_kind(
    tmp_path: Path, name: str, subject: str
) -> None:
    put(tmp_path / "scans", *(f"sub-{n}/ses-1/anat/sub-{n}_ses-1_T1w.nii.gz" for n in ("01", "02")))
    put(tmp_path / "drawn", name)
    listing = bids.list_scans(tmp_path / "scans", USUAL_MODALITIES)
    listing = with_masks(listing, tmp_path / "scans", tmp_path / "drawn")
    assert [scan.subject for scan in listing.scans if scan.lesion_masks] == [subject][
        : bool(subject)
    ]
    if not subject:
        assert Path(name).name in reasons(listing)


def test_subject_and_session_that_read_like_another_subject_are_kept_apart(tmp_path: Path) -> None:
    put(tmp_path / "scans", *(f"sub-{n}/ses-1/anat/sub-{n}_ses-1_T1w.nii.gz" for n in ("1", "11")))
    put(tmp_path / "drawn", "sub-11_ses-1_lesion.nii")
    listing = bids.list_scans(tmp_path / "scans", USUAL_MODALITIES)
    listing = with_masks(listing, tmp_path / "scans", tmp_path / "drawn")
    assert found(listing) == {"1_1_T1w": [], "11_1_T1w": ["sub-11_ses-1_lesion.nii"]}


def test_a_time_point_behind_the_subject_is_heeded(tmp_path: Path) -> None:
    case = "UPENN-GBM-00001"
    put(tmp_path / "scans", f"{case}_11/{case}_11_T1.nii.gz")
    put(tmp_path / "drawn", f"{case}_21_by_hand.nii", f"{case}_11_by_hand.nii")
    listing = brats.list_scans(tmp_path / "scans", ("T1w",))
    listing = with_masks(listing, tmp_path / "scans", tmp_path / "drawn")
    assert list(found(listing).values()) == [[f"{case}_11_by_hand.nii"]]


def test_a_folder_of_masks_by_another_path_is_counted_once(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    put(scans, "sub-1/anat/sub-1_T1w.nii.gz", "derivatives/m/sub-1_roi.nii.gz")
    (tmp_path / "link").symlink_to(scans)
    listing = bids.list_scans(scans, USUAL_MODALITIES)
    for folder in (scans / "../scans/derivatives/m", tmp_path / "link/derivatives/m"):
        told = with_masks(listing, scans, folder)
        assert found(told) == {"1_T1w": ["sub-1_roi.nii.gz"]}
        assert (told.n_files, told.skipped) == (2, ())
    with pytest.raises(SourceError, match="holds the scans' own folder"):
        with_masks(listing, scans, tmp_path)
    assert found(with_masks(listing, scans, scans)) == {"1_T1w": ["sub-1_roi.nii.gz"]}


def test_a_session_called_t1_is_no_modality(tmp_path: Path) -> None:
    for ses in ("t1", "t2"):
        put(tmp_path / "scans", f"sub-1/ses-{ses}/anat/sub-1_ses-{ses}_T2w.nii.gz")
    put(tmp_path / "drawn", "sub-1_ses-t1_lesion.nii")
    listing = bids.list_scans(tmp_path / "scans", USUAL_MODALITIES)
    listing = with_masks(listing, tmp_path / "scans", tmp_path / "drawn")
    assert found(listing) == {"1_t1_T2w": ["sub-1_ses-t1_lesion.nii"], "1_t2_T2w": []}
