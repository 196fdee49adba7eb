"""What people mark is kept whole, whoever marks at the same time."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from datasets.reviews import (
    Review,
    Reviews,
    ReviewsError,
    change_reviews,
    read_reviews,
)

EXCLUDE = Review(mark="exclude", note="moved – 患者", changed="2026-01-02T03:04:05+00:00")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "reviews.json"
    assert read_reviews(path) == Reviews()
    change_reviews(path, lambda now: now.with_subject("stroke", "017", EXCLUDE))
    change_reviews(path, lambda now: now.with_subject("stroke", "003", Review(mark="use")))
    change_reviews(path, lambda now: now.with_trial("abc", Review(note="odd loss")))
    found = read_reviews(path)
    assert found.of_subject("stroke", "017") == EXCLUDE
    assert found.of_subject("tumour", "017") == Review()
    assert found.of_trial("abc").note == "odd loss"
    assert found.marked("stroke", "exclude") == ("017",)
    assert found.marked("tumour", "exclude") == ()
    assert "患者" in path.read_text(encoding="utf-8")


def test_a_review_that_says_nothing_is_taken_out(tmp_path: Path) -> None:
    path = tmp_path / "reviews.json"
    change_reviews(path, lambda now: now.with_subject("stroke", "017", EXCLUDE))
    change_reviews(path, lambda now: now.with_subject("stroke", "017", Review(changed="now")))
    assert read_reviews(path) == Reviews()
    assert json.loads(path.read_text(encoding="utf-8"))["subjects"] == {}


def _mark(path: str, first: int) -> None:
    for number in range(first, first + 15):
        name = f"{number:03d}"
        change_reviews(Path(path), lambda now, n=name: now.with_subject("c", n, EXCLUDE))  # type: ignore[misc]


def test_changes_of_several_processes_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "reviews.json"
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_mark, args=(str(path), 15 * i)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert read_reviews(path).marked("c", "exclude") == tuple(f"{i:03d}" for i in range(45))
    assert {p.name for p in tmp_path.iterdir()} == {"reviews.json", ".reviews.json.lock"}


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("no json", "no file of reviews"),
        ('{"version": 2}', "version"),
        ('{"subjects": {"c": {"s": {"mark": "maybe"}}}}', "mark"),
        (json.dumps({"trials": {"t": {"note": "x" * 2001}}}), "note"),
    ],
)
def test_a_file_that_is_none_is_told_and_never_replaced(
    content: str, word: str, tmp_path: Path
) -> None:
    path = tmp_path / "reviews.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ReviewsError, match=word):
        read_reviews(path)
    with pytest.raises(ReviewsError, match=word):
        change_reviews(path, lambda now: now)
    assert path.read_text(encoding="utf-8") == content


def test_a_folder_a_pipe_and_a_place_that_is_not_there_are_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (".", "pipe"):
        with pytest.raises(ReviewsError, match="cannot read"):
            read_reviews(tmp_path / name)
    with pytest.raises(ReviewsError, match="cannot write"):
        change_reviews(tmp_path / "none" / "reviews.json", lambda now: now)
