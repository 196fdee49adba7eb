"""Studies that failed in part, and stores without any: what the pages say of them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from streamlit.testing.v1 import AppTest

from tests.apps import Open


def _texts(app: AppTest) -> str:
    kinds = ("title", "header", "markdown", "caption", "warning", "error")
    return "\n".join(str(e.value) for kind in kinds for e in app.get(kind))


def test_a_study_that_failed_in_part_is_not_called_complete(
    open_app: Open, made_up_store: Path, synthetic: ModuleType, tmp_path: Path
) -> None:
    app = open_app(made_up_store)
    assert any("1 trial failed" in e.value for e in app.error)
    texts = _texts(app)
    assert "1 failed" in texts
    assert "complete" not in texts
    assert not any("done" in str(p) and "100%" in str(p) for p in app.get("progress"))
    synthetic.write_store(tmp_path, "sound", synthetic.Wanted(trials=20, failed=0))
    sound = open_app(tmp_path)
    assert not sound.error
    assert "complete" in _texts(sound)
    assert sound.header[0].value == "Best"


def test_prepared_scans_are_shown_without_a_study(
    open_app: Open, smoke_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "shards").symlink_to(smoke_store / "shards")
    app = open_app(tmp_path, "data")
    assert not app.exception
    assert "Scans that no study uses yet" in _texts(app)
    assert set(app.table[0].value["Cohort"]) >= {"atlas", "brats"}
    assert len(app.get("plotly_chart")) > 1
    elsewhere = open_app(tmp_path, "best")
    assert not elsewhere.exception
    assert "python -m study.run" in _texts(elsewhere)
