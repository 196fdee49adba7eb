from __future__ import annotations

from dataclasses import replace

import pytest

from datasets.errors import SourceError
from datasets.scan import Role
from study.prepare.duplicates import Content, Repeat, repeated
from study.prepare.noticed import kind_of

ONE = Content("a", "test", "T1w", "a/1.nii", "f" * 64, ("m",))
COPY = replace(ONE, cohort="b", image="b/1.nii")


@pytest.mark.parametrize(
    ("one", "other"), [("test", "train"), ("test", "healthy"), ("healthy", "train")]
)
def test_an_image_in_two_roles_is_refused_by_both_names(one: Role, other: Role) -> None:
    with pytest.raises(SourceError, match=r"/1.nii of cohort '.'.*/1.nii of cohort '.'"):
        repeated([replace(ONE, role=one), replace(COPY, role=other)])


@pytest.mark.parametrize("role", ["train", "test", "healthy"])
def test_a_scan_that_is_there_twice_in_a_role_is_used_once(role: Role) -> None:
    found = repeated([replace(x, role=role) for x in (ONE, COPY)])
    assert found == {
        1: Repeat(
            "the same scan as a/1.nii of cohort 'a', which is taken for both", is_left_out=True
        )
    }


def test_an_image_may_test_twice_with_other_masks() -> None:
    repeat = repeated([ONE, replace(COPY, masks=("other",))])[1]
    assert not repeat.is_left_out
    assert "other lesion masks" in repeat.sentence


def test_an_image_in_two_modalities_is_said() -> None:
    repeat = repeated([ONE, replace(ONE, modality="T2w", image="a/2.nii")])[1]
    assert not repeat.is_left_out
    assert "listed as T1w" in repeat.sentence


def test_volumes_of_one_file_are_not_the_same_image() -> None:
    assert not repeated([replace(ONE, volume=1), replace(ONE, modality="T2w", volume=3)])


def test_files_that_cannot_be_read_are_not_taken_for_the_same() -> None:
    lost = replace(ONE, image_sha256="unreadable: EACCES")
    assert not repeated([lost, replace(lost, role="train")])


def test_downloads_that_failed_in_one_way_are_no_scan() -> None:
    assert not repeated([ONE, replace(COPY, role="train")], lambda path: False)


def test_notes_that_differ_in_numbers_and_paths_are_of_one_kind() -> None:
    assert kind_of("12 voxels of /a/b.nii are NaN") == kind_of("7 voxels of /c.nii are NaN")
