"""Folders full of links: every scan is found, and the cost is bounded."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasets.errors import SourceError
from datasets.scan import USUAL_MODALITIES
from datasets.sources import _walk, bids
from tests.listings import ids, put, reasons

IMAGE = "anat/sub-{0}_T1w.nii.gz"


def scan(subject: str) -> str:
    return f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz"


def test_folders_that_link_to_the_next_twice_are_listed_once_each(tmp_path: Path) -> None:
    """Thirty-five of them have two to the thirty-fifth ways through them."""
    put(tmp_path, scan("1"))
    folders = [tmp_path / f"sub-1/chain{i:02d}" for i in range(36)]
    for folder in folders:
        folder.mkdir()
    for folder, following in itertools.pairwise(folders):
        (folder / "a").symlink_to(following)
        (folder / "b").symlink_to(following)
    assert ids(bids.list_scans(tmp_path, USUAL_MODALITIES)) == ["1_T1w"]


def test_the_same_holds_for_folders_outside_that_a_link_leads_to(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(root, scan("1"))
    folders = [tmp_path / f"outside/{i:02d}" for i in range(30)]
    for folder in folders:
        folder.mkdir(parents=True)
    for folder, following in itertools.pairwise(folders):
        (folder / "a").symlink_to(following)
        (folder / "b").symlink_to(following)
    put(folders[-1], "sub-2/anat/sub-2_T1w.nii.gz")
    (root / "more").symlink_to(folders[0])
    listing = bids.list_scans(root, USUAL_MODALITIES)
    assert ids(listing) == ["1_T1w"]
    said = reasons(listing)
    assert said.pop("sub-2_T1w.nii.gz") == "not below a folder sub-* of the root"
    assert "behind two links" in said.popitem()[1]


def test_a_view_made_of_links_into_the_same_tree_is_read(tmp_path: Path) -> None:
    put(tmp_path, "raw/first/anat/sub-1_T1w.nii.gz", "raw/second/anat/sub-2_T1w.nii.gz")
    (tmp_path / "sub-1").symlink_to("raw/first")
    (tmp_path / "sub-2").symlink_to("raw/second")
    assert ids(bids.list_scans(tmp_path, USUAL_MODALITIES)) == ["1_T1w", "2_T1w"]


def test_a_folder_is_known_by_its_own_path_before_that_of_a_link(tmp_path: Path) -> None:
    put(tmp_path, scan("1"))
    (tmp_path / "a-link").symlink_to("sub-1")
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert [found.image for found in listing.scans] == [tmp_path / scan("1")]


def test_links_in_a_ring_and_to_themselves_end(tmp_path: Path) -> None:
    put(tmp_path, scan("1"), scan("2"))
    (tmp_path / "sub-1/other").symlink_to("../sub-2")
    (tmp_path / "sub-2/other").symlink_to("../sub-1")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "all").symlink_to(".")
    listing = bids.list_scans(tmp_path, USUAL_MODALITIES)
    assert ids(listing) == ["1_T1w", "2_T1w"]
    assert reasons(listing)["all"] == "a link back to a folder above it"


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder with more folders in each other than Python's own tools can follow, or remove."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    yield tmp_path
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_folders_deeper_than_any_call_stack_are_listed(deep: Path) -> None:
    put(deep, scan("1"))
    assert ids(bids.list_scans(deep, USUAL_MODALITIES)) == ["1_T1w"]


def test_more_names_than_a_data_set_has_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_walk, "MAX_NAMES", 50)
    put(tmp_path, scan("1"), *(f"notes/{i}.txt" for i in range(46)))
    assert ids(bids.list_scans(tmp_path, USUAL_MODALITIES)) == ["1_T1w"]
    put(tmp_path, "notes/one-more.txt")
    with pytest.raises(SourceError, match=r"holds more than 50 files and folders: expected"):
        bids.list_scans(tmp_path, USUAL_MODALITIES)


@pytest.mark.parametrize("name", ["a\0b", "half \ud800 character", "x" * 5000])
def test_a_root_that_cannot_be_is_a_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be") as caught:
        bids.list_scans(tmp_path / name, USUAL_MODALITIES)
    str(caught.value).encode()
