"""Optuna's searches, killed with two points finished and two running."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.records.index import load_index
from study.trials.search import LambdaSearch
from tests.commands import begin
from tests.grids import run_words
from tests.heads import write_cohorts, write_head
from tests.plugins import GATED, install, install_here
from tests.stores import open_study, stamps, unnamed

pytestmark = pytest.mark.slow

GRID = '''
"""A search over lambda."""

from study.grids._grid import Grid, GridSearch

GRID = Grid(
    trials=(),
    searches=(GridSearch("gated", "gmm_lambda", "outlier_sum", SPACE),),
    phantom_subjects={},
)
'''

SPACES = {
    "grid": ("points=(0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)", 6),
    "tpe": ("low=1e-4, high=1.0, n_trials=6", 6),
}


@pytest.mark.parametrize("kind", sorted(SPACES))
def test_a_killed_search_repeats_no_finished_point_and_loses_none(
    until: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    space, n_points = SPACES[kind]
    n_cohorts = 2 if kind == "grid" else 1  # a grid's points are shared by the cohorts' searches
    _write_scans(tmp_path / "scans", n_cohorts)
    gate = tmp_path / "gate"
    gate.mkdir()
    store = tmp_path / "store"
    environment = install(tmp_path, gated=GATED) | {"GATE": str(gate)}
    install_here(monkeypatch, tmp_path)  # to rebuild the searches
    words = run_words(tmp_path, "search", GRID.replace("SPACE", space))
    words += ["--cohorts", str(tmp_path / "scans/cohorts.toml"), "--store", str(store)]
    first = begin(words, tmp_path, **environment)

    def finished() -> dict[str, Any]:
        return {p: s for p, s in stamps(store).items() if "/trials/" in p}

    def has_two_running() -> bool:
        # A fit, its evaluations on the test cohorts, and the one on the subjects held out.
        return len(list(gate.iterdir())) == 4 and len(finished()) == 2 * (2 + n_cohorts)

    until(lambda: first.status is not None or has_two_running(), "two points run, two are done")
    assert first.status is None, first.describe()
    before = finished()
    first.kill_group()
    until(lambda: not first.left_over(), "no orphan goes on with the points that ran")
    assert finished() == before
    earlier = _points(store)
    assert [len(points) for points in earlier.values()] == [2] * n_cohorts

    (tmp_path / "open").touch()
    second = begin(words, tmp_path, **environment)
    assert second.wait() == 0, second.describe()
    after = finished()
    assert {path: after.get(path) for path in before} == before, "a finished point ran again"
    study = open_study(store, "s")
    assert len(study.storage.names("trials")) == n_points
    assert len(list(gate.iterdir())) == n_points + 2  # the two that ran have run again
    for cohort, points in _points(store).items():
        assert len(points) == n_points
        assert earlier[cohort].items() <= points.items()
    assert unnamed(store) == []
    until(lambda: not second.left_over(), "no process is left")


def _write_scans(folder: Path, n_cohorts: int) -> None:
    """A train cohort, and one or two test cohorts of other heads."""
    write_cohorts(folder, 2, 1)
    if n_cohorts == 2:
        write_head(folder / "tumour", "t000", lesion=True)
        text = '[cohorts.tumour]\nsource = "bids"\nroot = "tumour"\nrole = "test"\n'
        path = folder / "cohorts.toml"
        path.write_text(path.read_text() + text)


def _points(store: Path) -> dict[str, dict[float, float]]:
    """What searches that are built from the store know: the objective of each point, by cohort."""
    study = open_study(store, "s")
    record = study.study()
    assert record is not None
    known = {}
    for search in record.searches:
        rebuilt = LambdaSearch(search, record.cohorts, load_index(study))
        assert rebuilt.left == search.n_trials - len(rebuilt.optuna_study.trials)
        trials = rebuilt.optuna_study.trials
        known[search.objective] = {t.params["gmm_lambda"]: t.value for t in trials}
    return known
