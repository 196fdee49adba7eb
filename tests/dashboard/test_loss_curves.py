"""Loss curves on the page Study: who sees them, and when they come and go."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from study.records.heartbeats import Progress, Stage
from study.records.studies import StudyStore, utc_now
from tests.apps import Open


def test_loss_curves_are_drawn_for_whoever_asks(open_app: Open, made_up_store: Path) -> None:
    assert not _curves_are_drawn(open_app(made_up_store))
    app = open_app(made_up_store, **{"curves-on": "true"})
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert [t["name"] for t in spec["data"]][:2] == [
        "VAE T2w (32, 512)",
        "VAE T2w (32, 512), held out",
    ]


def _curves_are_drawn(app: AppTest) -> bool:
    return bool(app.get("plotly_chart"))


@pytest.fixture
def at_work(synthetic: ModuleType, tmp_path: Path) -> tuple[StudyStore, Progress]:
    """A study whose driver is at work, and its heartbeat."""
    wanted = synthetic.Wanted(trials=52, unfinished=3, failed=0, full=False)
    study = synthetic.write_store(tmp_path, "live", wanted)
    st.cache_resource.clear()
    return study, study.progress()


def beat(study: StudyStore, progress: Progress, stage: Stage = Stage.TRIALS) -> None:
    study.write_progress(progress.model_copy(update={"updated": utc_now(), "stage": stage}))


def test_curves_come_once_a_study_is_at_work_and_go_with_it(
    open_app: Open, at_work: tuple[StudyStore, Progress], tmp_path: Path
) -> None:
    """A page that was opened before a driver's first heartbeat, and stays open beyond its last."""
    study, progress = at_work
    study.storage.delete("progress.json")
    app = open_app(tmp_path)
    assert not _curves_are_drawn(app)
    for stage, drawn in ((Stage.TRIALS, True), (Stage.DONE, False), (Stage.TRIALS, True)):
        beat(study, progress, stage)
        assert _curves_are_drawn(app.run()) is drawn


@pytest.mark.parametrize("told", ["by hand", "by the address"])
def test_curves_that_somebody_chose_stay_as_chosen(
    open_app: Open, at_work: tuple[StudyStore, Progress], tmp_path: Path, told: str
) -> None:
    study, progress = at_work
    beat(study, progress)
    address = {"curves-on": "false"} if told == "by the address" else {}
    app = open_app(tmp_path, **address)
    if told == "by hand":
        assert _curves_are_drawn(app)
        app.toggle(key="study.curves-on").set_value(False).run()
    beat(study, progress)
    app.run()
    assert not _curves_are_drawn(app)
    app.toggle(key="study.curves-on").set_value(True).run()
    assert _curves_are_drawn(app)
