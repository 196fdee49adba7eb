from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

import datasets.sources
from datasets.errors import SourceError
from datasets.plugins import plugin_names
from datasets.scan import FURTHER, USUAL_MODALITIES
from datasets.sources import atlas, bids, brats, ixi
from tests.listings import ids, masks, put, reasons, unprivileged


def test_private_modules_are_no_sources() -> None:
    names = plugin_names(datasets.sources)
    assert {"atlas", "bids", "brats", "ixi"} <= set(names)
    assert not [name for name in names if name.startswith("_")]


def test_ixi_layout(tmp_path: Path) -> None:
    put(
        tmp_path,
        "IXI-T2/IXI002-Guys-0828-T2.nii.gz",
        "IXI-T1/IXI012-HH-1211-T1.nii.gz",
        "IXI-T1/IXI002-Guys-0828-T1.nii.gz",
        "IXI-PD/IXI002-Guys-0828-PD.nii.gz",
        "IXI-T1/readme.txt",
    )
    listing = ixi.list_scans(tmp_path, USUAL_MODALITIES)
    assert ids(listing) == ["IXI002_T1w", "IXI002_T2w", "IXI012_T1w"]
    assert [scan.stripped for scan in listing.scans] == [None, None, None]
    assert listing.scans[1].image == tmp_path / "IXI-T2/IXI002-Guys-0828-T2.nii.gz"
    assert {scan.subject: scan.site for scan in listing.scans} == {"IXI002": "Guys", "IXI012": "HH"}
    assert reasons(listing) == {
        "IXI002-Guys-0828-PD.nii.gz": "by its name no image or mask of this layout",
        "readme.txt": "no image by its name (.txt)",
    }
    assert ids(ixi.list_scans(tmp_path, ("T2w",))) == ["IXI002_T2w"]


def test_atlas_release_1_takes_every_lesion_mask_of_a_scan(tmp_path: Path) -> None:
    put(
        tmp_path,
        "c0001/c0001s0004t01/c0001s0004t01_t1w_deface_stx.nii.gz",
        "c0001/c0001s0004t01/c0001s0004t01_LesionSmooth_stx.nii.gz",
        "c0001/c0001s0004t01/c0001s0004t01_LesionSmooth_1_stx.nii.gz",
        "c0001/c0001s0004t02/c0001s0004t02_t1w_deface_stx.nii.gz",
        "Site1/031768/t01/031768_t1w_deface_stx.nii.gz",
        "Site1/031768/t01/031768_LesionSmooth_stx.nii.gz",
        "c0002/c0002s0001t01/c0002s0001t01_LesionSmooth_stx.nii.gz",
    )
    listing = atlas.list_scans(tmp_path, USUAL_MODALITIES)
    assert ids(listing) == ["031768_t01_T1w", "c0001s0004_t01_T1w", "c0001s0004_t02_T1w"]
    assert [len(scan.lesion_masks) for scan in listing.scans] == [1, 2, 0]
    assert "without a T1w" in reasons(listing)["c0002s0001t01_LesionSmooth_stx.nii.gz"]
    assert atlas.list_scans(tmp_path, ("T2w",)).scans == ()


def test_atlas_release_1_in_one_folder_gives_each_scan_its_own_masks(tmp_path: Path) -> None:
    put(
        tmp_path,
        "c0001s0004t01_t1w_deface_stx.nii.gz",
        "c0001s0004t01_LesionSmooth_stx.nii.gz",
        "c0001s0004t01_LesionSmooth_1_stx.nii.gz",
        "c0001s0004t011_t1w_stx.nii.gz",
        "c0001s0004t011_LesionSmooth_stx.nii.gz",
        "c0001s0005t01_t1w_deface_stx.nii",
        "c0001s0005t01_t1w_deface_stx.nii.gz",
        "c0001s0005t01_LesionSmooth_stx.nii",
        "c0009s0009t01_LesionSmooth_stx.nii.gz",
    )
    listing = atlas.list_scans(tmp_path, USUAL_MODALITIES)
    assert {scan.scan_id: masks(tmp_path, scan) for scan in listing.scans} == {
        "c0001s0004_t01_T1w": [
            "c0001s0004t01_LesionSmooth_1_stx.nii.gz",
            "c0001s0004t01_LesionSmooth_stx.nii.gz",
        ],
        "c0001s0004_t011_T1w": ["c0001s0004t011_LesionSmooth_stx.nii.gz"],
        "c0001s0005_t01_T1w": ["c0001s0005t01_LesionSmooth_stx.nii"],
    }
    assert sorted(reasons(listing)) == [
        "c0001s0005t01_t1w_deface_stx.nii.gz",
        "c0009s0009t01_LesionSmooth_stx.nii.gz",
    ]


def test_brats_mask_under_a_strange_name_belongs_to_a_lone_case(tmp_path: Path) -> None:
    put(
        tmp_path,
        "lone/BraTS20_Training_355_t1.nii",
        "lone/W39_1998.09.19_Segm.nii",
        "flat/BraTS20_Training_001_t1.nii",
        "flat/BraTS20_Validation_001_t1.nii",
        "flat/W40_1998.09.19_Segm.nii",
    )
    listing = brats.list_scans(tmp_path, ("T1w",))
    assert [len(scan.lesion_masks) for scan in listing.scans] == [0, 1, 0]
    assert list(reasons(listing)) == ["W40_1998.09.19_Segm.nii"]


@pytest.mark.parametrize("top", ["", "Training/"])
@pytest.mark.parametrize("space", ["", "_space-MNI152NLin2009aSym"])
def test_atlas_release_2_has_a_folder_for_each_site(tmp_path: Path, top: str, space: str) -> None:
    folder = f"{top}R001/sub-r001s001/ses-1/anat"
    mask = f"{folder}/sub-r001s001_ses-1{space}_label-L_desc-T1lesion_mask.nii.gz"
    put(
        tmp_path,
        f"{folder}/sub-r001s001_ses-1{space}_T1w.nii.gz",
        mask,
        f"{top}R009/sub-r009s002/ses-1/anat/sub-r009s002_ses-1{space}_T1w.nii.gz",
    )
    listing = atlas.list_scans(tmp_path, USUAL_MODALITIES)
    assert ids(listing) == ["r001s001_1_T1w", "r009s002_1_T1w"]
    assert masks(tmp_path, listing.scans[0]) == [mask]
    assert listing.scans[1].lesion_masks == ()
    assert listing.skipped == ()


def test_brats_names_of_all_years_mix_in_one_root(tmp_path: Path) -> None:
    put(
        tmp_path,
        "HGG/Brats18_2013_2_1/Brats18_2013_2_1_t1.nii.gz",
        "HGG/Brats18_2013_2_1/Brats18_2013_2_1_t1ce.nii.gz",
        "HGG/Brats18_2013_2_1/Brats18_2013_2_1_t2.nii.gz",
        "HGG/Brats18_2013_2_1/Brats18_2013_2_1_flair.nii.gz",
        "HGG/Brats18_2013_2_1/Brats18_2013_2_1_seg.nii.gz",
        "BraTS20_Training_001/BraTS20_Training_001_t2.nii",
        "BraTS20_Training_001/BraTS20_Training_001_seg.nii",
        "BraTS20_Training_355/BraTS20_Training_355_t2.nii",
        "BraTS20_Training_355/W39_1998.09.19_Segm.nii",
        "BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1n.nii.gz",
        "BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1c.nii.gz",
        "BraTS-GLI-00001-000/BraTS-GLI-00001-000-t2w.nii.gz",
        "BraTS-GLI-00001-000/BraTS-GLI-00001-000-t2f.nii.gz",
        "BraTS-GLI-00001-000/BraTS-GLI-00001-000-seg.nii.gz",
        "BraTS-GLI-00001-001/BraTS-GLI-00001-001-t2w.nii.gz",
    )
    listing = brats.list_scans(tmp_path, USUAL_MODALITIES)
    assert ids(listing) == [
        "BraTS-GLI-00001_000_T1w",
        "BraTS-GLI-00001_000_T2w",
        "BraTS-GLI-00001_001_T2w",
        "BraTS20_Training_001_T2w",
        "BraTS20_Training_355_T2w",
        "Brats18_2013_2_1_T1w",
        "Brats18_2013_2_1_T2w",
    ]
    assert all(scan.stripped is True for scan in listing.scans)
    assert [len(scan.lesion_masks) for scan in listing.scans] == [1, 1, 0, 1, 1, 1, 1]
    assert {scan.subject for scan in listing.scans[:3]} == {"BraTS-GLI-00001"}
    assert sorted(reasons(listing).values()) == [
        "another contrast (flair)",
        "another contrast (t1c)",
        "another contrast (t1ce)",
        "another contrast (t2f)",
    ]


def test_a_scan_that_lies_there_packed_and_unpacked_is_listed_once(tmp_path: Path) -> None:
    put(tmp_path, "case/case_t1.nii", "case/case_t1.nii.gz")
    listing = brats.list_scans(tmp_path, USUAL_MODALITIES)
    assert ids(listing) == ["case_T1w"]
    assert reasons(listing)["case_t1.nii.gz"] == FURTHER


LAYOUTS = [
    pytest.param(ixi, "IXI-T1/IXI002-Guys-0828-T1", None, id="ixi"),
    pytest.param(
        atlas,
        "c0001/c0001s0004t01/a_t1w_deface_stx",
        "c0001/c0001s0004t01/a_LesionSmooth_stx",
        id="atlas",
    ),
    pytest.param(brats, "HGG/case/case_t1", "HGG/case/case_seg", id="brats"),
    pytest.param(bids, "sub-01/anat/sub-01_T1w", "sub-01/anat/sub-01_label-lesion_mask", id="bids"),
]


@pytest.mark.parametrize(("source", "image", "mask"), LAYOUTS)
class TestEverySource:
    def test_missing_folder_is_one_sentence(
        self, tmp_path: Path, source: ModuleType, image: str, mask: str | None
    ) -> None:
        with pytest.raises(SourceError, match=r"nowhere does not exist: expected a folder with"):
            source.list_scans(tmp_path / "nowhere", USUAL_MODALITIES)

    def test_file_for_a_folder_is_refused(
        self, tmp_path: Path, source: ModuleType, image: str, mask: str | None
    ) -> None:
        put(tmp_path, "file")
        with pytest.raises(SourceError, match="is no folder"):
            source.list_scans(tmp_path / "file", USUAL_MODALITIES)

    def test_folder_of_something_else_is_refused(
        self, tmp_path: Path, source: ModuleType, image: str, mask: str | None
    ) -> None:
        put(tmp_path, "notes/scan.nii.gz", "readme.md")
        with pytest.raises(SourceError, match="holds no scan of this layout: expected files such"):
            source.list_scans(tmp_path, USUAL_MODALITIES)

    def test_broken_files_are_skipped_with_a_reason(
        self, tmp_path: Path, source: ModuleType, image: str, mask: str | None
    ) -> None:
        put(tmp_path, f"{image}.nii.gz")
        good = tmp_path / f"{image}.nii.gz"
        for number, kind in enumerate(["link", "folder", "loop"]):
            number += 5
            name = image.replace("002", f"00{number}").replace("0004", f"000{number}")
            name = name.replace("case", f"case{number}").replace("01/", f"0{number}/")
            name = name.replace("sub-01_", f"sub-0{number}_")
            path = tmp_path / f"{name}.nii.gz"
            assert path != good
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "link":
                path.symlink_to(tmp_path / "missing")
            elif kind == "folder":
                path.mkdir()
            else:
                path.symlink_to(path.name)
        (good.parent / f"._{good.name}").write_bytes(b"resource fork")
        listing = source.list_scans(tmp_path, USUAL_MODALITIES)
        assert [scan.image for scan in listing.scans] == [good]
        said = sorted(skipped.reason for skipped in listing.skipped)
        assert said[0] == "a folder with the name of an image"
        assert said[1] == "a link to a file that does not exist"
        assert said[2].startswith("cannot be looked at: ")
        assert said[3] == "hidden file"

    def test_unreadable_files_and_folders_are_skipped_with_a_reason(
        self, source: ModuleType, image: str, mask: str | None
    ) -> None:
        with unprivileged() as root:
            put(root, f"{image}.nii.gz", "closed/scan.nii.gz")
            (root / f"{image}.nii.gz").chmod(0)
            (root / "closed").chmod(0)
            listing = source.list_scans(root, USUAL_MODALITIES)
            (root / "closed").chmod(0o700)
        assert listing.scans == ()
        said = reasons(listing)
        assert said[Path(image).name + ".nii.gz"] == "no permission to read it"
        assert "cannot be entered" in said["closed"]

    def test_linked_folders_are_followed_and_loops_are_not(
        self, tmp_path: Path, source: ModuleType, image: str, mask: str | None
    ) -> None:
        put(tmp_path / "store", f"{image}.NII.GZ")
        top = Path(image).parts[0]
        root = tmp_path / "root"
        root.mkdir()
        (root / top).symlink_to(tmp_path / "store" / top)
        (tmp_path / "store" / top / "again").symlink_to(tmp_path / "store" / top)
        listing = source.list_scans(root, USUAL_MODALITIES)
        assert [scan.image for scan in listing.scans] == [root / f"{image}.NII.GZ"]
        assert reasons(listing) == {"again": "a link back to a folder above it"}

    def test_listing_does_not_depend_on_the_order_of_creation(
        self, tmp_path: Path, source: ModuleType, image: str, mask: str | None
    ) -> None:
        names = [f"{image}.nii.gz", *([f"{mask}.nii.gz"] if mask else [])]
        more = [n.replace("case", "casf").replace("sub-01", "sub-00") for n in names]
        more = [n.replace("0004", "0001").replace("002", "001") for n in more]
        put(tmp_path / "a", *names, *more)
        put(tmp_path / "b", *reversed(more), *reversed(names))
        one, other = (source.list_scans(tmp_path / side, USUAL_MODALITIES) for side in "ab")
        assert len(one.scans) == 2
        assert ids(one) == ids(other) == sorted(ids(one))
        assert [masks(tmp_path / "a", s) for s in one.scans] == [
            masks(tmp_path / "b", s) for s in other.scans
        ]


@pytest.mark.parametrize(("source", "image", "mask"), [p for p in LAYOUTS if p.values[2]])
def test_unusable_lesion_mask_takes_its_scan_along(
    tmp_path: Path, source: ModuleType, image: str, mask: str
) -> None:
    put(tmp_path, f"{image}.nii.gz")
    (tmp_path / f"{mask}.nii.gz").symlink_to("missing")
    listing = source.list_scans(tmp_path, USUAL_MODALITIES)
    assert listing.scans == ()
    said = reasons(listing)
    assert "is unusable: a link" in said.pop(Path(f"{image}.nii.gz").name)
    assert said == {Path(f"{mask}.nii.gz").name: "a link to a file that does not exist"}
