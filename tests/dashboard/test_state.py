"""The address bar: who wrote what, and who wins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import state

Open = Callable[..., AppTest]
NAME = "threshold-normalized_error"


def _slide(app: AppTest, steps: int) -> AppTest:
    slider = app.slider[0]
    step = (slider.max - slider.min) / 400
    return slider.set_value(slider.value + steps * step).run()


def test_change_on_the_heels_of_another_is_not_undone_by_the_old_address(
    open_app: Open, made_up_store: Path
) -> None:
    app = open_app(made_up_store, "heatmaps")
    old = app.query_params[NAME]
    _slide(app, 2)
    first = app.query_params[NAME]
    app.query_params[NAME] = old  # as a browser sends it that has not heard of the change yet
    _slide(app, 2)
    assert float(app.query_params[NAME]) > float(first) > float(old)


def test_change_of_one_choice_keeps_another_that_has_just_changed(
    open_app: Open, made_up_store: Path
) -> None:
    app = open_app(made_up_store, "heatmaps")
    old = app.query_params[NAME]
    _slide(app, 5)
    new = app.query_params[NAME]
    app.query_params[NAME] = old
    next(b for b in app.button if b.label == "Next").click().run()
    assert app.query_params[NAME] == new
    assert app.query_params["slice"] == "67"


def test_back_button_brings_the_earlier_view_back(
    open_app: Open, made_up_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "_HEELS_S", 0.0)
    app = open_app(made_up_store, "heatmaps")
    old = app.query_params[NAME]
    _slide(app, 5)
    app.query_params[NAME] = old
    app.run()
    assert app.query_params[NAME] == old
    assert f"{app.slider[0].value:.6g}" == old


def test_default_of_several_is_not_written_and_can_be_returned_to(
    open_app: Open, made_up_store: Path
) -> None:
    app = open_app(made_up_store, "roc")
    usual = list(app.multiselect[0].value)
    assert "curves" not in app.query_params
    app.multiselect[0].set_value(usual[:2]).run()
    assert app.query_params["curves"] == ",".join(usual[:2])
    app.multiselect[0].set_value(usual).run()
    assert "curves" not in app.query_params
    assert app.multiselect[0].value == usual


def test_number_that_is_none_is_refused(open_app: Open, made_up_store: Path) -> None:
    app = open_app(made_up_store, "heatmaps", **{NAME: "nonsense"})
    assert not app.exception
    assert any("nonsense" in w.value for w in app.warning)
    assert app.query_params[NAME] == "0.6"
