"""The cohorts file: what it may say, and one sentence for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.errors import CohortsError
from study.prepare.cohorts import phantom_cohorts, read_cohorts

_GOOD = """
[cohorts.ixi]
source = "ixi"
root = "data/IXI"
role = "train"

[cohorts.own-scans]
source = "bids"
root = "/elsewhere/bids"
role = "test"
modalities = ["T2w"]
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "cohorts.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_roots_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    _write(folder, _GOOD)
    monkeypatch.chdir(tmp_path)
    ixi, own = read_cohorts(Path("a/cohorts.toml"))
    assert ixi.root == folder / "data/IXI"
    assert own.root == Path("/elsewhere/bids")


def test_cohorts_are_sorted_and_have_both_modalities_unless_told(tmp_path: Path) -> None:
    ixi, own = read_cohorts(_write(tmp_path, _GOOD))
    assert (ixi.name, ixi.role, ixi.modalities) == ("ixi", "train", ("T1w", "T2w"))
    assert (own.name, own.role, own.modalities) == ("own-scans", "test", ("T2w",))
    assert not ixi.synthetic


def test_the_order_of_modalities_in_the_file_does_not_matter(tmp_path: Path) -> None:
    text = _GOOD.replace('["T2w"]', '["T2w", "T1w", "T2w"]')
    assert read_cohorts(_write(tmp_path, text))[1].modalities == ("T1w", "T2w")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('source = "ixi"', 'source = "oasis"', r"unknown source 'oasis'; choose one of: .*bids"),
        ('role = "train"', 'role = "training"', r"role: .*'train' or 'test'"),
        ('role = "train"', "", r"role: Field required"),
        ('root = "data/IXI"', "", r"root: Field required"),
        ('root = "data/IXI"', "root = 3", r"root: "),
        ('["T2w"]', '["FLAIR"]', r"modalities\.0: .*'T1w' or 'T2w'"),
        ('["T2w"]', "[]", r"modalities: .*at least 1"),
        ('role = "train"', 'role = "train"\nmodality = "T1w"', r"modality: Extra inputs"),
        ("[cohorts.ixi]", '[cohorts."IXI scans"]', r"name: .*letters, digits"),
        ("[cohorts.ixi]", "[cohorts.ixi", r"is no valid TOML: "),
        ("[cohorts.own-scans]", "[cohorts.ixi]", r"is no valid TOML: "),
        ("[cohorts.ixi]", "[options]\nx = 1\n[cohorts.ixi]", r"unknown entry 'options'"),
        ("[cohorts.ixi]", "[cohorts]\nother = 3\n[cohorts.ixi]", r"\[cohorts\.other\].* is no tab"),
        ('source = "ixi"', 'source = "phantom"', r"source 'phantom' needs options"),
        (
            'modalities = ["T2w"]',
            'options = {layout = "ixi", subjects = 2, seed = 0}',
            r"takes no options",
        ),
    ],
)
def test_each_mistake_is_one_sentence_that_names_the_file(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in _GOOD
    path = _write(tmp_path, _GOOD.replace(old, new))
    with pytest.raises(CohortsError, match=says) as caught:
        read_cohorts(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "cohorts = 3", "[cohorts]"])
def test_a_file_without_cohorts_says_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(CohortsError, match=r"has no table \[cohorts\.NAME\]"):
        read_cohorts(_write(tmp_path, text))


def test_a_missing_file_a_folder_and_no_text_are_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.toml", tmp_path, binary):
        with pytest.raises(CohortsError, match=f"cannot read the cohorts file {path}"):
            read_cohorts(path)


def test_the_phantom_has_the_roles_and_modalities_of_the_paper(tmp_path: Path) -> None:
    cohorts = phantom_cohorts(tmp_path, {"ixi": 5, "brats": 3, "atlas": 3})
    assert [(c.name, c.role, c.modalities) for c in cohorts] == [
        ("atlas", "test", ("T1w",)),
        ("brats", "test", ("T1w", "T2w")),
        ("ixi", "train", ("T1w", "T2w")),
    ]
    assert all(c.synthetic for c in cohorts)
    assert len({c.options.seed for c in cohorts if c.options}) == 3


def test_a_phantom_of_another_size_has_another_folder(tmp_path: Path) -> None:
    roots = {phantom_cohorts(tmp_path, {"ixi": n})[0].root for n in (4, 5)}
    assert len(roots) == 2
