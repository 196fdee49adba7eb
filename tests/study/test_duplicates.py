from __future__ import annotations

from dataclasses import replace

import pytest

from datasets.errors import SourceError
from study.prepare.duplicates import Content, repeated
from study.prepare.noticed import kind_of

ONE = Content("a", "test", "T1w", "a/1.nii", "f" * 64, ("m",))
COPY = replace(ONE, cohort="b", image="b/1.nii")


def test_an_image_that_trains_and_tests_is_refused_by_both_names() -> None:
    with pytest.raises(SourceError, match=r"a/1.nii of cohort 'a'.*b/1.nii of cohort 'b'"):
        repeated([ONE, replace(COPY, role="train")], print)


@pytest.mark.parametrize("role", ["train", "test"])
def test_a_scan_that_is_there_twice_in_a_role_is_used_once(role: str) -> None:
    said: list[str] = []
    pair = [replace(x, role=role) for x in (ONE, COPY)]  # type: ignore[arg-type]
    assert repeated(pair, said.append) == {1}
    assert "'a'" in said[0]
    assert "'b'" in said[0]


def test_an_image_may_test_twice_with_other_masks() -> None:
    said: list[str] = []
    assert not repeated([ONE, replace(COPY, masks=("other",))], said.append)
    assert "other lesion masks" in said[0]


def test_files_that_cannot_be_read_are_not_taken_for_the_same() -> None:
    lost = replace(ONE, image_sha256="unreadable: EACCES")
    assert not repeated([lost, replace(lost, role="train")], print)


def test_notes_that_differ_in_numbers_and_paths_are_of_one_kind() -> None:
    assert kind_of("12 voxels of /a/b.nii are NaN") == kind_of("7 voxels of /c.nii are NaN")
