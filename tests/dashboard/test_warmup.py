"""The server has the study at hand before somebody asks for it."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving import APP
from dashboard import reader, warmup
from dashboard.data import open_study
from dashboard.options import DashboardOptions


@pytest.fixture(autouse=True)
def _nothing_is_known() -> Iterator[None]:
    open_study.clear()
    yield
    gc.unfreeze()


def test_study_is_read_before_the_first_visitor_comes(
    made_up_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmup.warm_up(DashboardOptions({"made-up": str(made_up_store)}, None))
    monkeypatch.setattr(reader, "stored_index", None)  # nobody may read it again
    monkeypatch.setattr(reader, "load_index", None)
    assert open_study(str(made_up_store), "synthetic").view().counts.planned == 140


def test_what_the_server_keeps_is_not_searched_for_garbage_after_each_run(
    made_up_store: Path,
) -> None:
    gc.unfreeze()
    warmup.warm_up(DashboardOptions({"made-up": str(made_up_store)}, None))
    record = open_study(str(made_up_store), "synthetic").view().record
    searched = {id(found) for found in gc.get_objects()}
    assert id(record.__dict__) not in searched
    assert id(sys.modules["plotly.graph_objs"].__dict__) not in searched


@pytest.mark.parametrize("study", [None, "no-such-study"])
def test_store_without_the_study_stops_no_server(study: str | None, tmp_path: Path) -> None:
    warmup.warm_up(DashboardOptions({"a": str(tmp_path / "nothing"), "b": "s3://"}, study))
    assert list(tmp_path.iterdir()) == []  # and nothing is written for it


def test_wrong_option_ends_the_server_with_a_sentence() -> None:
    line = [sys.executable, "-m", "streamlit", "run", str(APP), "--", "--stroe", "x"]
    found = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode == 2
    assert "unrecognized arguments: --stroe x" in found.stderr
    assert "Traceback" not in found.stderr
