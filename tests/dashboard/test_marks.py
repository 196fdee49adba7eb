"""Marks on subjects and notes on trials: kept beside the store, and shown again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.options import parse_options
from datasets.reviews import Review, change_reviews, read_reviews

Open = Callable[..., AppTest]


@pytest.fixture
def reviewed(open_app: Open, made_up_store: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a page of the made-up store with a file of reviews."""

    def run(path: Path, page: str, **address: str) -> AppTest:
        app = open_app(made_up_store, page, **address)
        line = ["app.py", "--store", str(made_up_store), "--reviews", str(path)]
        monkeypatch.setattr(sys, "argv", line)
        return app.run()

    return run


def _choose(app: AppTest, mark: str) -> None:
    (group,) = (g for g in app.get("button_group") if g.label.startswith("What to do"))
    group.set_value(mark)


def test_without_a_file_nothing_can_be_marked(open_app: Open, made_up_store: Path) -> None:
    for page in ("subjects", "trial"):
        app = open_app(made_up_store, page)
        assert not app.text_area
        assert "Review" not in app.dataframe[0].value if page == "subjects" else True


def test_a_mark_is_kept_beside_the_store_and_shown(
    reviewed: Open, made_up_store: Path, tmp_path: Path
) -> None:
    before = {p: p.stat().st_mtime_ns for p in made_up_store.rglob("*")}
    path = tmp_path / "reviews.json"
    app = reviewed(path, "subjects", cohort="atlas T1w")
    assert not app.exception
    subject = app.selectbox(key="subjects.review").value
    _choose(app, "exclude")
    app.text_area[0].set_value("  moved <b>much</b> ")
    next(b for b in app.button if b.label == "Keep").click()
    app.run()
    assert not app.exception
    kept = read_reviews(path).of_subject("atlas", subject)
    assert (kept.mark, kept.note) == ("exclude", "moved <b>much</b>")
    table = app.dataframe[0].value
    assert list(table[table["Subject"] == subject]["Review"]) == ["exclude"]
    told = " ".join(caption.value for caption in app.caption)
    assert "1 subject of atlas marked exclude" in told
    assert {p: p.stat().st_mtime_ns for p in made_up_store.rglob("*")} == before


def test_a_note_on_a_trial_is_kept_and_shown_again(reviewed: Open, tmp_path: Path) -> None:
    path = tmp_path / "reviews.json"
    app = reviewed(path, "trial")
    app.text_area[0].set_value("look again")
    next(b for b in app.button if b.label == "Keep").click()
    app.run()
    (trial,) = read_reviews(path).trials
    again = reviewed(path, "trial", trial=trial)
    assert again.text_area[0].value == "look again"


def test_a_damaged_file_is_said_and_the_page_is_shown(reviewed: Open, tmp_path: Path) -> None:
    path = tmp_path / "reviews.json"
    path.write_text("damaged")
    app = reviewed(path, "subjects", cohort="atlas T1w")
    assert not app.exception
    assert any("no file of reviews" in warning.value for warning in app.warning)
    assert len(app.dataframe[0].value)


def test_marks_of_others_are_not_lost(reviewed: Open, tmp_path: Path) -> None:
    path = tmp_path / "reviews.json"
    app = reviewed(path, "subjects", cohort="atlas T1w")
    change_reviews(path, lambda now: now.with_subject("brats", "x", Review(mark="unsure")))
    _choose(app, "use")
    next(b for b in app.button if b.label == "Keep").click()
    app.run()
    found = read_reviews(path)
    assert found.of_subject("brats", "x").mark == "unsure"
    assert len(found.marked("atlas", "use")) == 1


def test_a_file_in_a_store_or_a_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "runs"
    store.mkdir()
    for place, word in ((store / "a" / "reviews.json", "lies in the store"), (tmp_path, "folder")):
        with pytest.raises(SystemExit):
            parse_options(["--store", str(store), "--reviews", str(place)])
        assert word in capsys.readouterr().err
    found = parse_options(["--store", str(store), "--reviews", str(tmp_path / "r.json")])
    assert found.reviews == tmp_path / "r.json"
    assert parse_options([]).reviews is None
