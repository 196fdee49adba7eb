"""Files of a local store are listed and deleted without going through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datasets.layout import Kind, kind_of
from datasets.local_tree import LinkedError, delete_empty_folder, delete_file, walk

KEY, UUID = "0" * 20, "1" * 32


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder of somebody's, with files that have names of ours."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for name in ("notes.txt", "state.safetensors", "manifest.json"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").write_text("x")
    return folder


def untouched(folder: Path) -> bool:
    return sorted(p.name for p in folder.iterdir()) == [
        "manifest.json",
        "notes.txt",
        "state.safetensors",
    ]


@pytest.mark.parametrize("target", ["elsewhere", ".", "a", "loop"])
def test_a_listing_tells_a_link_to_a_folder_and_does_not_go_there(
    root: Path, elsewhere: Path, target: str
) -> None:
    link = root / "a" / "loop"
    link.symlink_to({"elsewhere": elsewhere, "a": root / "a"}.get(target, target))
    found = {entry.path: entry for entry in walk(str(root), recursive=True)}
    assert set(found) == {"a", "a/b", "a/b/file", "a/loop"}
    assert found["a/loop"].is_link
    assert not found["a/loop"].is_folder
    assert not found["a/loop"].is_file


def test_a_link_to_a_file_is_told_as_a_file(root: Path, elsewhere: Path) -> None:
    (root / "notes").symlink_to(elsewhere / "notes.txt")
    (entry,) = (e for e in walk(str(root), recursive=False) if e.path == "notes")
    assert (entry.is_file, entry.is_link, entry.size) == (True, True, len("notes.txt"))


def test_a_folder_that_cannot_be_listed_is_told_and_the_rest_is_there(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a" / "closed").mkdir()
    scandir = os.scandir

    def refusing(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "no entry", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = {entry.path: entry for entry in walk(str(root), recursive=True)}
    assert "no entry" in found["a/closed"].fault
    assert "a/b/file" in found


def test_deleting_a_link_leaves_what_it_points_to(root: Path, elsewhere: Path) -> None:
    (root / "to_file").symlink_to(elsewhere / "notes.txt")
    (root / "to_folder").symlink_to(elsewhere)
    delete_file(str(root), "to_file")
    delete_file(str(root), "to_folder")
    assert sorted(p.name for p in root.iterdir()) == ["a"]
    assert untouched(elsewhere)


@pytest.mark.parametrize("path", ["a/link/state.safetensors", "a/link/inner/file"])
def test_nothing_behind_a_link_is_deleted(root: Path, elsewhere: Path, path: str) -> None:
    (root / "a" / "link").symlink_to(elsewhere)
    with pytest.raises(LinkedError, match="'link' is a link"):
        delete_file(str(root), path)
    assert not delete_empty_folder(str(root), path)
    assert untouched(elsewhere)


def test_a_link_in_place_of_the_store_itself_is_the_users_own(root: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(root)
    delete_file(str(tmp_path / "linked"), "a/b/file")
    assert delete_empty_folder(str(tmp_path / "linked"), "a/b")
    assert list((root / "a").iterdir()) == []


@pytest.mark.parametrize("path", ["../elsewhere/notes.txt", "a/../../elsewhere/notes.txt", "a//b"])
def test_no_path_leaves_the_store(root: Path, elsewhere: Path, path: str) -> None:
    with pytest.raises(ValueError, match="no path below"):
        delete_file(str(root), path)
    assert untouched(elsewhere)


def test_a_folder_is_deleted_only_if_it_is_empty(root: Path) -> None:
    assert not delete_empty_folder(str(root), "a")
    with pytest.raises(OSError, match="irectory"):
        delete_file(str(root), "a")
    assert (root / "a" / "b" / "file").exists()
    delete_file(str(root), "a/b/never")
    assert delete_empty_folder(str(root), "a/never")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("studies/s/study.json", Kind.STUDY),
        ("studies/s/index.parquet", Kind.INDEX),
        ("studies/s/statistics.parquet", Kind.STATISTICS),
        ("studies/s/trials/t/manifest.json", Kind.FIT),
        (f"studies/s/trials/t/attempts/{UUID}/state.safetensors", Kind.FIT_PART),
        ("studies/s/trials/t/eval/e/manifest.json", Kind.EVALUATION),
        (f"studies/s/trials/t/eval/e/attempts/{UUID}/roc.parquet", Kind.EVALUATION_PART),
        (f"shards/scans/{KEY}/slices-{KEY}.parquet", Kind.SLICES),
        (f"shards/{KEY}/manifest.json", Kind.COHORT),
        (f"shards/scans/{KEY}/.record.json.{UUID}.tmp", Kind.UNFINISHED),
        (f"studies/s/trials/t/attempts/{UUID}/.a.parquet.{UUID}.tmp", Kind.UNFINISHED),
        ("studies/s/trials/t/attempts/mine/state.safetensors", None),
        (f"studies/s/trials/t/attempts/{UUID}/inner/state.safetensors", None),
        (f"studies/s/trials/t/attempts/{UUID}/notes.txt", None),
        (f"shards/scans/{KEY}/brain.nii.gz", None),
        (f"shards/scans/mine/slices-{KEY}.parquet", None),
        ("studies/s/.notes.tmp", None),
    ],
)
def test_only_names_that_we_give_are_ours(path: str, kind: Kind | None) -> None:
    assert kind_of(path) is kind
