"""Choices in the address: what a link says, what is remembered, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import state
from dashboard.frame import Frame
from dashboard.links import page_url
from dashboard.options import parse_options
from dashboard.reader import StudyView

Open = Callable[..., AppTest]
THRESHOLD = "threshold-normalized_error"


def test_link_names_the_store_the_study_and_the_choices_of_its_page() -> None:
    frame = Frame("lab/runs", "s3://lab/runs", "a&b", StudyView("a&b"))
    parts = urlparse(page_url(frame, "roc", cohort="é T1w", curves=["a, b", "c"]))
    assert parts.path == "roc"
    assert parse_qs(parts.query) == {
        "store": ["lab/runs"],
        "study": ["a&b"],
        "roc.cohort": ["é T1w"],
        "roc.curves": ["a, b", "c"],
    }


@pytest.mark.parametrize(
    ("uris", "names"),
    [
        ([], ["runs"]),
        (["/data/runs", "s3://lab/old/"], ["runs", "old"]),
        (["/a/runs", "/b/runs", "/c"], ["a/runs", "b/runs", "c"]),
        (["runs", "x/runs"], ["runs", "x/runs"]),
        (["/", "/x/"], ["/", "x"]),
    ],
)
def test_stores_are_named_by_their_folders(uris: list[str], names: list[str]) -> None:
    words = [word for uri in uris for word in ("--store", uri)]
    assert list(parse_options(words).stores) == names


def test_changed_default_of_several_is_followed_until_somebody_chooses(
    open_app: Open, made_up_store: Path
) -> None:
    app = open_app(made_up_store, "roc")
    usual = list(app.multiselect[0].value)
    app.get("button_group")[0].set_value("brats T2w").run()
    others = list(app.multiselect[0].value)
    assert others
    assert others != usual
    app.multiselect[0].set_value(others[:1]).run()
    app.get("button_group")[1].set_value("slice").run()
    assert app.multiselect[0].value == others[:1]


@pytest.mark.parametrize("told", ["nonsense", "1e9", "nan", ""])
def test_number_that_is_none_or_out_of_range_is_not_used(
    told: str, open_app: Open, made_up_store: Path
) -> None:
    usual = open_app(made_up_store, "heatmaps").slider[0].value
    app = open_app(made_up_store, "heatmaps", **{THRESHOLD: told})
    assert not app.exception
    assert app.slider[0].value == usual
    assert any(told in w.value for w in app.warning) is bool(told)


def test_number_of_the_address_is_used(open_app: Open, made_up_store: Path) -> None:
    slider = open_app(made_up_store, "heatmaps").slider[0]
    wanted = slider.min + 3 * (slider.max - slider.min) / 400
    app = open_app(made_up_store, "heatmaps", **{THRESHOLD: f"{wanted:.6g}"})
    assert app.slider[0].value == pytest.approx(wanted, rel=1e-5)
    assert not app.warning


def test_choices_of_one_page_do_not_meet_those_of_another() -> None:
    assert state.key("region", "roc") != state.key("region", "best")
    assert state.key("study", "roc") == state.key("study", "best") == "study"
