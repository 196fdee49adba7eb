"""The index: always what the manifests say, whatever was written before."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from study.records.index import SCHEMA, load_index, refresh_index, stored_index
from study.records.studies import StudyStore
from study.records.types import FitRecord, PlannedTrial

Put = Callable[..., None]
MakeTrial = Callable[..., PlannedTrial]


@pytest.fixture
def trials(make_trial: MakeTrial) -> list[PlannedTrial]:
    return [make_trial("intensity", "T1w"), make_trial("intensity", "T2w")]


class TestIndex:
    """On every storage."""

    def test_is_empty_at_first_and_nothing_is_written(self, study: StudyStore) -> None:
        assert refresh_index(study).equals(SCHEMA.empty_table())
        assert study.storage.files() == ()

    def test_has_a_row_a_fit_and_a_row_a_score_and_region(
        self, study: StudyStore, trials: list[PlannedTrial], put_trial: Put
    ) -> None:
        for trial in trials:
            put_trial(study, trial, {"intensity": 0.7, "negative_intensity": None})
        rows = refresh_index(study).to_pylist()
        assert sum(row["kind"] == "fit" for row in rows) == 2
        found = {
            (r["modality"], r["cohort"], r["score"], r["region"]): r["auc"]
            for r in rows
            if r["kind"] == "evaluation"
        }
        assert len(found) == (3 + 2) * 2 * 2  # those held out of either modality among them
        assert found["T1w", "atlas", "intensity", "brain"] == 0.7
        assert found["T2w", "brats", "negative_intensity", "slice"] is None

    def test_deleting_it_loses_nothing(
        self, study: StudyStore, trials: list[PlannedTrial], put_trial: Put
    ) -> None:
        for trial in trials:
            put_trial(study, trial, {"intensity": 0.7})
            before = refresh_index(study)
        study.storage.delete("index.parquet")
        assert load_index(study).equals(before)
        assert not study.storage.exists("index.parquet")
        assert refresh_index(study).equals(before)

    @pytest.mark.parametrize("rubbish", [b"", b"PAR1 no more PAR1", b"\0" * 100])
    def test_a_damaged_one_is_made_anew(
        self, study: StudyStore, trials: list[PlannedTrial], put_trial: Put, rubbish: bytes
    ) -> None:
        put_trial(study, trials[0], {"intensity": 0.7})
        before = refresh_index(study)
        study.storage.put("index.parquet", rubbish)
        assert refresh_index(study).equals(before)
        assert stored_index(study).equals(before)

    def test_an_evaluation_that_joins_is_seen(
        self, study: StudyStore, trials: list[PlannedTrial], put_trial: Put
    ) -> None:
        put_trial(study, trials[0], {"intensity": 0.7}, cohorts=["atlas"])
        refresh_index(study)
        put_trial(study, trials[0], {"intensity": 0.7})
        fresh = load_index(study)
        assert set(fresh["cohort"].to_pylist()) == {None, "atlas", "brats", "held out"}
        study.storage.delete("index.parquet")
        assert load_index(study).equals(fresh)

    def test_a_trial_that_is_removed_is_gone(
        self, study: StudyStore, trials: list[PlannedTrial], put_trial: Put
    ) -> None:
        for trial in trials:
            put_trial(study, trial, {"intensity": 0.7})
        refresh_index(study)
        for path in study.storage.files(f"trials/{trials[0].trial_id}"):
            study.storage.delete(path)
        assert set(refresh_index(study)["trial_id"].to_pylist()) == {trials[1].trial_id}


def test_a_manifest_that_changes_is_read_again(
    local_study: StudyStore,
    trials: list[PlannedTrial],
    put_trial: Put,
    make_fit: Callable[..., FitRecord],
) -> None:
    put_trial(local_study, trials[0], {"intensity": 0.7})
    put_trial(local_study, trials[1], {"intensity": 0.6})
    refresh_index(local_study)
    changed = make_fit(trials[0], status="failed")
    local_study.trial(trials[0].trial_id).write_fit(changed)
    status = {
        r["trial_id"]: (r["status"], r["failure_message"])
        for r in refresh_index(local_study).to_pylist()
        if r["kind"] == "fit"
    }
    expected = {trials[0].trial_id: ("failed", "why"), trials[1].trial_id: ("done", None)}
    assert status == expected


def test_only_what_has_changed_is_read_again(
    local_study: StudyStore, trials: list[PlannedTrial], put_trial: Put
) -> None:
    for trial in trials:
        put_trial(local_study, trial, {"intensity": 0.7})
    before = refresh_index(local_study)
    for path in local_study.storage.files(f"trials/{trials[0].trial_id}"):
        if path.endswith(".parquet"):
            local_study.storage.delete(path)  # nobody may look at it: its manifests are the same
    assert load_index(local_study).equals(before)


def test_what_no_manifest_names_is_not_in_it(
    local_study: StudyStore, trials: list[PlannedTrial]
) -> None:
    trial = local_study.trial(trials[0].trial_id)
    trial.attempt().put("model.safetensors", b"x")
    trial.evaluation_storage("e").put("attempts/a/metrics.parquet", b"x")
    trial.storage.put("checkpoint.json", b"{}")
    assert load_index(local_study).num_rows == 0


@pytest.mark.parametrize("damage", [b"", b"{", b'{"store_version": 99}'])
def test_a_damaged_fit_is_a_row_and_hides_no_other_trial(
    local_study: StudyStore, trials: list[PlannedTrial], put_trial: Put, damage: bytes
) -> None:
    for trial in trials:
        put_trial(local_study, trial, {"intensity": 0.7})
    local_study.trial(trials[0].trial_id).storage.put("manifest.json", damage)
    rows = load_index(local_study).to_pylist()
    (damaged,) = (r for r in rows if r["kind"] == "problem")
    assert damaged["trial_id"] == trials[0].trial_id
    assert "manifest.json" in damaged["failure_message"]
    assert [r["trial_id"] for r in rows if r["kind"] == "fit"] == [trials[1].trial_id]


def test_a_damaged_evaluation_is_a_row_and_its_fit_stays(
    local_study: StudyStore, trials: list[PlannedTrial], put_trial: Put
) -> None:
    trial = trials[0]
    put_trial(local_study, trial, {"intensity": 0.7})
    store = local_study.trial(trial.trial_id)
    atlas, brats, _ = (store.evaluation_storage(e.eval_id) for e in trial.evals)
    atlas.put("manifest.json", b"{")
    (part,) = (p for p in brats.files() if p.endswith("metrics.parquet"))
    brats.put(part, b"flipped")
    rows = load_index(local_study).to_pylist()
    assert [r["kind"] for r in rows].count("fit") == 1
    damaged = {r["eval_id"]: r["failure_message"] for r in rows if r["kind"] == "problem"}
    assert set(damaged) == {e.eval_id for e in trial.evals[:2]}
    assert "metrics.parquet" in damaged[trial.evals[1].eval_id]
