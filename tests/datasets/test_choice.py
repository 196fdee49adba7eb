"""Which of several images of a subject is used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.scan import USUAL_MODALITIES
from datasets.sources import bids, brats
from tests.listings import put
from tests.volumes import save

WHOLE, SLAB = (40, 40, 40), (40, 40, 5)


def image(folder: Path, name: str, shape: tuple[int, int, int] = WHOLE, mm: float = 4.0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / name, np.zeros(shape, dtype=np.uint8), np.diag([mm, mm, mm, 1.0]))


def chosen(root: Path) -> str:
    (scan,) = bids.list_scans(root, USUAL_MODALITIES).scans
    return scan.image.name


@pytest.fixture
def anat(tmp_path: Path) -> Path:
    folder = tmp_path / "sub-1/anat"
    folder.mkdir(parents=True)
    return folder


def test_an_image_of_a_head_comes_before_one_of_some_slices(tmp_path: Path, anat: Path) -> None:
    image(anat, "sub-1_acq-a_T1w.nii.gz", SLAB)
    image(anat, "sub-1_acq-b_T1w.nii.gz")
    assert chosen(tmp_path) == "sub-1_acq-b_T1w.nii.gz"


def test_fine_voxels_come_before_coarse_ones(tmp_path: Path, anat: Path) -> None:
    image(anat, "sub-1_acq-a_T1w.nii.gz", (20, 20, 20), 8.0)
    image(anat, "sub-1_acq-b_T1w.nii.gz")
    assert chosen(tmp_path) == "sub-1_acq-b_T1w.nii.gz"


def test_a_localiser_is_known_by_its_name(tmp_path: Path, anat: Path) -> None:
    image(anat, "sub-1_acq-localizer_T1w.nii.gz")
    image(anat, "sub-1_acq-mprage_run-1_T1w.nii.gz")
    assert chosen(tmp_path) == "sub-1_acq-mprage_run-1_T1w.nii.gz"


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08 nothing", b"text"])
def test_an_image_whose_header_cannot_be_read_comes_last(
    tmp_path: Path, anat: Path, content: bytes
) -> None:
    (anat / "sub-1_T1w.nii.gz").write_bytes(content)
    image(anat, "sub-1_acq-z_run-9_T1w.nii.gz")
    assert chosen(tmp_path) == "sub-1_acq-z_run-9_T1w.nii.gz"


def test_a_link_that_was_not_fetched_gives_way(tmp_path: Path, anat: Path) -> None:
    (anat / "sub-1_run-1_T1w.nii.gz").symlink_to("../../.git/annex/objects/x")
    image(anat, "sub-1_run-2_T1w.nii.gz")
    assert chosen(tmp_path) == "sub-1_run-2_T1w.nii.gz"


def test_of_equal_images_the_plainest_and_first_name_is_used(tmp_path: Path, anat: Path) -> None:
    for name in ("run-1_T1w", "run-2_T1w", "acq-x_run-1_T1w"):
        image(anat, f"sub-1_{name}.nii.gz")
    assert chosen(tmp_path) == "sub-1_run-1_T1w.nii.gz"


def test_the_others_are_kept_in_order(tmp_path: Path) -> None:
    for name, shape in (("x_t1.nii", SLAB), ("x_t1.nii.gz", WHOLE), ("x-t1n.nii", WHOLE)):
        image(tmp_path / "x", name, shape)
    put(tmp_path, "x/x_seg.nii")
    (scan,) = brats.list_scans(tmp_path, ("T1w",)).scans
    names = [s.image.name for s in (scan, *scan.alternatives)]
    assert names == ["x_t1.nii.gz", "x-t1n.nii", "x_t1.nii"]
