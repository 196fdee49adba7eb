"""A store of an earlier layout is read as it is: the same figures, and nothing to be run again.

``stores/earlier`` was written by the version before detectors described themselves: a smoke study
of small heads, of which the records and the metrics were kept. ``report.json`` is what the report
of that version said.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datasets.storage import Storage
from study.grids._grid import Grid, GridSearch, GridTrial
from study.plan.done import work_left
from study.plan.plan import build_plan, planned_trial
from study.records import names
from study.records.index import INDEX_VERSION, load_index, stored_index
from study.records.studies import StudyStore
from study.records.types import StudyRecord
from study.report.report import as_json, make_report
from trainables.description import Score
from trainables.models import gmm, vae

EARLIER = Path(__file__).parent / "stores" / "earlier"

SMOKE = Grid(
    trials=(
        GridTrial("intensity"),
        *(GridTrial(m, {"n_c": 8, "n_z": 16, "batch_size": 16}) for m in ("ae", "dae", "vae")),
    ),
    searches=(GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(0.1, 0.001)),),
    phantom_subjects={},
)


@pytest.fixture(scope="module")
def study() -> StudyStore:
    return StudyStore.open(Storage.open(str(EARLIER)), "earlier")


@pytest.fixture(scope="module")
def record(study: StudyStore) -> StudyRecord:
    found = study.study()
    assert found is not None
    return found


def test_the_report_of_an_earlier_store_is_the_same(study: StudyStore, record: StudyRecord) -> None:
    before: dict[str, Any] = json.loads((EARLIER / "report.json").read_text())
    now = json.loads(as_json(make_report(study, record)))
    assert set(now.pop("problems").values()) == {0}  # told later, and so are these
    assert now.pop("false_alarms") == []
    assert {k: v for k, v in now.items() if k != "rows"} == {
        k: v for k, v in before.items() if k != "rows"
    }
    fields = set(before["rows"][0])
    assert [{k: row[k] for k in fields} for row in now["rows"]] == before["rows"]
    assert {row["setting"] for row in now["rows"]} == {"", "(8, 16)", "λ 0.1", "λ 0.001"}


def test_no_fit_of_an_earlier_store_is_made_again_and_every_evaluation_is(
    study: StudyStore, record: StudyRecord
) -> None:
    plan = build_plan(SMOKE, record.cohorts, seeds=(0,), epochs=None, precision="float32")
    assert [(t.trial_id, t.spec) for t in plan.trials] == [
        (t.trial_id, t.spec) for t in record.trials
    ]
    assert plan.searches == record.searches
    index = load_index(study)
    assert work_left(record.trials, index) == []
    left = work_left(plan.trials, index)
    assert [work.fit for work in left] == [False] * len(plan.trials)
    assert [[e.cohort for e in work.evals] for work in left] == [["stroke", "held out"]] * len(left)


def test_what_an_earlier_version_evaluated_keeps_its_identity(record: StudyRecord) -> None:
    for trial in record.trials:
        before = planned_trial(trial.spec, record.cohorts, trial.search, eval_version=1)
        assert before == trial


def test_an_index_of_an_earlier_layout_is_made_anew(study: StudyStore) -> None:
    assert study.storage.exists("index.parquet")
    assert stored_index(study).num_rows == 0
    index = load_index(study)
    assert set(index["kind"].to_pylist()) == {"fit", "evaluation"}
    assert index.schema.metadata[b"index_version"] == str(INDEX_VERSION).encode()


def _ids(record: StudyRecord, model: str) -> tuple[set[str], set[str]]:
    """Identities of a model's fits and of their evaluations, as a plan makes them now."""
    plan = build_plan(SMOKE, record.cohorts, seeds=(0,), epochs=None)
    trials = [trial for trial in plan.trials if trial.spec.model == model]
    return {t.trial_id for t in trials}, {e.eval_id for t in trials for e in t.evals}


def test_a_detectors_version_concerns_its_own_fits(
    record: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixtures, networks = _ids(record, "gmm"), _ids(record, "vae")
    monkeypatch.setattr(gmm.Model, "VERSION", gmm.Model.VERSION + 1)
    assert not _ids(record, "gmm")[0] & mixtures[0]
    assert _ids(record, "vae") == networks


def test_names_of_scores_concern_evaluations_alone_whatever_their_order(
    record: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits, evals = _ids(record, "vae")
    scores = vae.Model.SCORES
    monkeypatch.setattr(vae.Model, "SCORES", scores[::-1])
    assert _ids(record, "vae") == (fits, evals)
    monkeypatch.setattr(vae.Model, "SCORES", (*scores, Score("new")))
    found = _ids(record, "vae")
    assert found[0] == fits
    assert not found[1] & evals
    monkeypatch.setattr(vae.Model, "SCORES", (Score("new"), *scores[::-1]))
    assert _ids(record, "vae") == found


def test_a_store_is_read_where_a_model_is_not_installed(
    study: StudyStore, record: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((EARLIER / "report.json").read_text())["rows"]

    def missing(model: str) -> None:
        raise ValueError(f"unknown model {model!r}")

    monkeypatch.setattr(names, "describe", missing)
    names.installed.cache_clear()
    now = make_report(study, record).rows
    names.installed.cache_clear()
    assert {r["setting"] for r in now if r["model"] == "gmm"} == {
        f"gmm_lambda {value}, n_gaussians 4, region brain, tolerance 1e-10, max_iterations 20000"
        for value in ("0.1", "0.001")
    }
    assert len(now) == len(before)
