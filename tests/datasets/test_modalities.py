"""One list of modalities; FLAIR for who asks for it, and nothing else for who does not."""

from __future__ import annotations

import ast
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.phantom import writer
from datasets.phantom.contrast import _AROUND, _BRAIN
from datasets.phantom.layouts import LAYOUTS
from datasets.phantom.settings import MARKER, PhantomOptions
from datasets.scan import MODALITIES, USUAL_MODALITIES, Scan, looked_at
from datasets.sources import bids, brats, ixi, phantom
from tests.listings import put

ROOT = Path(__file__).parents[2]
ALL = ("T1w", "T2w", "FLAIR")


def constants(node: ast.AST) -> set[object]:
    """The strings that a literal is made of, keys of a dictionary alone."""
    items = {ast.Dict: "keys", ast.Tuple: "elts", ast.List: "elts", ast.Set: "elts"}
    found = getattr(node, items[type(node)], []) if type(node) in items else []
    return {item.value for item in found if isinstance(item, ast.Constant)}


def test_nothing_lists_the_modalities_a_second_time() -> None:
    seconds = []
    for package in ("datasets", "trainables", "study", "dashboard"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                named = constants(node) & set(MODALITIES)
                # A table says something of each; whoever adds one finds that it lacks it.
                whole_table = isinstance(node, ast.Dict) and named == set(MODALITIES)
                if len(named) > 1 and not whole_table:
                    seconds.append((path.relative_to(ROOT).as_posix(), getattr(node, "lineno", 0)))
    # What a layout scans, where not every data set has every modality.
    assert [s for s in seconds if s[0] != "datasets/scan.py"] == []


def test_what_is_said_of_one_modality_is_said_of_all() -> None:
    assert MODALITIES == ALL
    assert set(_BRAIN) == set(_AROUND) == set(MODALITIES)
    assert set(ixi._MODALITY.values()) == set(brats._MODALITY.values()) == set(MODALITIES)
    assert looked_at(("FLAIR",)) == MODALITIES
    assert looked_at(("T2w",)) == looked_at(()) == USUAL_MODALITIES == ("T1w", "T2w")


def listed(scans: tuple[Scan, ...]) -> dict[str, list[str]]:
    return {scan.scan_id: [mask.name for mask in scan.lesion_masks] for scan in scans}


def test_flair_of_a_bids_folder_is_found_by_who_asks_and_has_its_own_mask(tmp_path: Path) -> None:
    put(
        tmp_path,
        "sub-1/ses-a/anat/sub-1_ses-a_T1w.nii.gz",
        "sub-1/ses-a/anat/sub-1_ses-a_T1w_desc-lesion_mask.nii.gz",
        "sub-1/ses-b/anat/sub-1_ses-b_FLAIR.nii.gz",
        "sub-1/ses-b/anat/sub-1_ses-b_FLAIR_desc-lesion_mask.nii.gz",
        "sub-2/anat/sub-2_FLAIR.nii.gz",
        "derivatives/x/sub-2/anat/sub-2_desc-FLAIRlesion_mask.nii.gz",
        "sub-3/ses-a/anat/sub-3_ses-a_T1w.nii.gz",
        "sub-3/ses-b/anat/sub-3_ses-b_FLAIR.nii.gz",
        "derivatives/x/sub-3/anat/sub-3_label-lesion_mask.nii.gz",
    )
    usual = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert listed(usual.scans) == {
        "1_a_T1w": ["sub-1_ses-a_T1w_desc-lesion_mask.nii.gz"],
        "3_a_T1w": ["sub-3_label-lesion_mask.nii.gz"],  # FLAIR's session is nobody's
    }
    assert len([s for s in usual.skipped if "T1w or T2w image of its subject" in s.reason]) == 2
    assert listed(bids.list_scans(tmp_path, ("FLAIR",)).scans) == {
        "1_b_FLAIR": ["sub-1_ses-b_FLAIR_desc-lesion_mask.nii.gz"],
        "2_FLAIR": ["sub-2_desc-FLAIRlesion_mask.nii.gz"],
        "3_b_FLAIR": [],
    }


def test_flair_of_brats_is_found_by_who_asks(tmp_path: Path) -> None:
    put(
        tmp_path,
        "HGG/CASE/CASE_flair.nii.gz",
        "HGG/CASE/CASE_t1.nii.gz",
        "HGG/CASE/CASE_seg.nii.gz",
        "BraTS-GLI-00001-000/BraTS-GLI-00001-000-t2f.nii.gz",
        "BraTS-GLI-00001-000/BraTS-GLI-00001-000-seg.nii.gz",
    )
    assert set(listed(brats.list_scans(tmp_path, USUAL_MODALITIES).scans)) == {"CASE_T1w"}
    assert listed(brats.list_scans(tmp_path, ("FLAIR",)).scans) == {
        "BraTS-GLI-00001_000_FLAIR": ["BraTS-GLI-00001-000-seg.nii.gz"],
        "CASE_FLAIR": ["CASE_seg.nii.gz"],
    }


def options(layout: str, **more: object) -> PhantomOptions:
    coarse = {"subjects": 1, "seed": 2, "in_plane_mm": 3.0, "slice_mm": 4.0}
    return PhantomOptions.model_validate({"layout": layout, **coarse, **more})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_phantom_with_flair_has_the_other_files_unchanged(layout: str, tmp_path: Path) -> None:
    plain, more = options(layout), options(layout, more_modalities=["FLAIR"])
    writer.ensure(tmp_path / "plain", plain)
    writer.ensure(tmp_path / "more", more)
    names = {p.relative_to(tmp_path / "plain") for p in (tmp_path / "plain").rglob("*.nii.gz")}
    for name in names:
        one, other = (tmp_path / side / name for side in ("plain", "more"))
        assert one.read_bytes() == other.read_bytes()
    added = {p.relative_to(tmp_path / "more") for p in (tmp_path / "more").rglob("*.nii.gz")}
    assert any("flair" in str(name).lower() for name in added - names) == (layout != "atlas")
    assert "more_modalities" not in (tmp_path / "plain" / MARKER).read_text(encoding="utf-8")
    found = phantom.list_scans(tmp_path / "more", MODALITIES).scans
    assert {scan.modality for scan in found} == set(more.modalities)


def voxels(path: Path) -> NDArray[np.float32]:
    return np.asarray(nib.as_closest_canonical(nib.load(path)).get_fdata(dtype=np.float32))


def test_flair_of_the_phantom_has_dark_fluid_brighter_grey_matter_and_bright_lesions(
    tmp_path: Path,
) -> None:
    fluid, grey, white = _BRAIN["FLAIR"]
    assert fluid < 0.5 * white < white < grey < 1.5 * white
    some = options("brats", more_modalities=["FLAIR"], subjects=3)
    writer.ensure(tmp_path, some)
    for scan in phantom.list_scans(tmp_path, ("FLAIR",)).scans:
        image, lesion = voxels(scan.image), voxels(scan.lesion_masks[0]) > 0
        assert np.median(image[lesion]) > 1.15 * np.median(image[(image > 0) & ~lesion])
