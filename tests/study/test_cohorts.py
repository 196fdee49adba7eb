"""The cohorts file: what it may say, and one sentence for each mistake."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from datasets.errors import ScanError, SourceError
from datasets.nifti import check_header
from datasets.phantom.settings import MARKER, read_options
from datasets.reviews import Review, change_reviews
from study.errors import CohortsError, UsageError
from study.grids._grid import load_grid
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
        ('role = "train"', 'role = "training"', r"role: .*'train', 'test' or 'healthy'"),
        ('role = "train"', "", r"role: Field required"),
        ('root = "data/IXI"', "", r"root: Field required"),
        ('root = "data/IXI"', "root = 3", r"root: "),
        ('["T2w"]', '["PDw"]', r"modalities\.0: .*'T1w', 'T2w' or 'FLAIR'"),
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "[" * 5000, "brackets are too deep"),
        ("a = " + "{b=" * 5000, "brackets are too deep"),
        ("a = " + "9" * 5001, r"no valid TOML: .*4300 digits"),
        ("a\0b = 1", "no valid TOML"),
        ("a = 1\n" * 2, "no valid TOML"),
        ("\x1b[31m = 1", "no valid TOML"),
        (_GOOD.replace('"data/IXI"', '""'), "root: .*it is empty; name a folder"),
        (_GOOD.replace('"data/IXI"', r'"a\u0000b"'), "root: .*no folder is called 'a.x00b'"),
        (_GOOD.replace('"data/IXI"', '"~no-such-user/x"'), "names the home of nobody"),
        (_GOOD.replace('"data/IXI"', "0x" + "f" * 5000), "root: "),
        (_GOOD.replace('"ixi"', "1e400"), "source: "),
        (_GOOD + 'name = "ixi"', "name: a cohort is called as its table is"),
        ("x" * ((1 << 20) + 1), "larger than"),
    ],
    ids=range(13),
)
def test_what_breaks_readers_of_toml_is_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(CohortsError, match=says) as caught:
        read_cohorts(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_bytes_that_are_no_text_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "cohorts.toml"
    path.write_bytes(b"\xff\xfe[\0")
    with pytest.raises(CohortsError, match="no text in UTF-8"):
        read_cohorts(path)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(("make", "says"), [(_pipe, "named pipe"), (_device, "device")])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(
    make: Callable[[Path], None], says: str, tmp_path: Path
) -> None:
    make(tmp_path / "cohorts.toml")
    with pytest.raises(CohortsError, match=says):
        read_cohorts(tmp_path / "cohorts.toml")
    make(tmp_path / "grid.py")
    with pytest.raises(UsageError, match=says):
        load_grid(str(tmp_path / "grid.py"))
    make(tmp_path / MARKER)
    with pytest.raises(SourceError, match=says):
        read_options(tmp_path)
    make(tmp_path / "image.nii.gz")
    with pytest.raises(ScanError, match="no regular file"):
        check_header(tmp_path / "image.nii.gz")


def test_a_marker_of_a_phantom_with_deep_brackets_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text("[" * 50_000)
    with pytest.raises(SourceError, match="cannot be read as a phantom's marker"):
        read_options(tmp_path)


def test_a_file_of_reviews_leaves_out_what_it_marks_of_the_cohort(tmp_path: Path) -> None:
    reviews = tmp_path / "reviews.json"
    for cohort, subject, mark in (
        ("own-scans", "b", "exclude"),
        ("own-scans", "a", "exclude"),
        ("own-scans", "c", "unsure"),
        ("ixi", "d", "exclude"),
    ):
        review = Review.model_validate({"mark": mark})
        change_reviews(
            reviews, lambda now, c=cohort, s=subject, r=review: now.with_subject(c, s, r)
        )  # type: ignore[misc]
    path = _write(tmp_path, _GOOD + 'exclude = "reviews.json"\n')
    ixi, own = read_cohorts(path)
    assert (own.reviewed, own.reviews) == (("a", "b"), reviews)
    assert (ixi.reviewed, ixi.reviews) == ((), None)
    reviews.write_text("damaged")
    with pytest.raises(CohortsError, match="no file of reviews"):
        read_cohorts(path)
    reviews.unlink()
    with pytest.raises(CohortsError, match="there is no file of reviews"):
        read_cohorts(path)
    for entry in ("reviewed", "reviews"):
        with pytest.raises(CohortsError, match="no such entry"):
            read_cohorts(_write(tmp_path, _GOOD + f'{entry} = ["a"]\n'))
