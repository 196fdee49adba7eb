"""What a report says of its figures, from made-up counts of subjects in a real store."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.simulated import DISEASES, Cells, draw, subjects_table
from datasets.manifest import (
    CohortManifest,
    ScanRecord,
    SubjectInfo,
    cohort_key,
    write_manifest,
)
from datasets.settings import PREPROCESS_VERSION, PreprocessSettings
from datasets.storage import Storage
from study.grids._grid import load_grid
from study.plan.plan import build_plan
from study.records.index import load_index
from study.records.parts import table_bytes
from study.records.statistics import PATH, read_statistics
from study.records.studies import Attempt, StudyStore
from study.records.types import CohortInfo, StudyRecord
from study.report import counts as module
from study.report.choice import Row
from study.report.comparisons import by_holm
from study.report.evidence import Evidence, Part
from study.report.markdown import as_markdown
from study.report.report import (
    Report,
    as_csv,
    as_json,
    as_latex,
    evidence_sentences,
    make_report,
)
from study.report.statistics import Binned, pooled
from study.report.strata import strata
from trainables.detector import score_names
from trainables.registry import detector_class

N = 14
SHIFTS = {"log_variance": -0.6, "squared_error": 0.0, "nll": 0.02, "normalized_error": 0.9}


@pytest.fixture
def record(paper_cohorts: tuple[CohortInfo, ...]) -> StudyRecord:
    plan = build_plan(load_grid("smoke"), paper_cohorts, seeds=(0, 1), epochs=None)
    return StudyRecord(
        study="a-study", grid="smoke", synthetic=False, cohorts=paper_cohorts,
        trials=plan.trials, searches=plan.searches, created="2026", updated="2026",
    )  # fmt: skip


@pytest.fixture
def study(
    local_study: StudyStore, record: StudyRecord, put_trial: Callable[..., None]
) -> StudyStore:
    """All trials but the mixture's, on the same subjects; those of the intensity have no counts."""
    local_study.write_study(record)
    for number, trial in enumerate(record.trials):
        scores = score_names(detector_class(trial.spec.model))
        if trial.spec.model == "gmm":
            continue
        rng = np.random.default_rng(5)  # the same subjects for all
        cells = Cells(np.array([SHIFTS.get(s, 0.001 * number) for s in scores]), 0.02)
        counts = dict(zip(scores, draw(DISEASES["tumours"], N, rng, cells), strict=True))
        put_trial(local_study, trial, {s: float(pooled(c).auc) for s, c in counts.items()})
        if trial.spec.model != "intensity":
            put_counts(local_study, trial.trial_id, counts)
    return local_study


def put_counts(study: StudyStore, trial_id: str, counts: dict[str, Binned]) -> None:
    store = study.trial(trial_id)
    both = {(s, r): c for (s, c), r in itertools.product(counts.items(), ("brain", "slice"))}
    for eval_id in store.storage.names("eval"):
        evaluation = store.evaluation(eval_id)
        assert evaluation is not None
        metrics = store.read_part(evaluation, "metrics.parquet")
        files = {"metrics.parquet": metrics, "subjects.parquet": table_bytes(subjects_table(both))}
        parts = Attempt(store.evaluation_storage(eval_id)).put_all(files)
        store.write_evaluation(evaluation.model_copy(update={"parts": parts}))


@pytest.fixture
def report(study: StudyStore, record: StudyRecord) -> Report:
    return make_report(study, record)


def test_rows_have_intervals_around_their_figures(report: Report) -> None:
    rows = [row for row in report.rows if row["model"] == "vae"]
    assert rows
    for row in rows:
        assert row["n_with_lesion"] == N
        assert 1 < row["n_effective"] < N
        if row["region"] == "brain":
            assert row["auc_low"] < row["auc"] < row["auc_high"]
        assert row["subject_auc_low"] < row["subject_auc_high"]
        assert row["is_approximate"] is True
        assert row["seed_sd"] is not None


def test_rows_without_counts_have_figures_and_no_interval(report: Report) -> None:
    rows = [row for row in report.rows if row["model"] == "intensity"]
    assert rows
    assert all(row["auc"] is not None and row["auc_low"] is None for row in rows)


def test_the_table_tells_intervals_and_the_claim(report: Report) -> None:
    table = report.table("brain")
    vae = {score: table.cells[("vae", score), ("atlas", "T1w")] for score in SHIFTS}
    assert all(cell.interval is not None and cell.seed_sd == 0 for cell in vae.values())
    best = table.cells[("vae", "normalized_error"), ("atlas", "T1w")]
    assert best.best
    # The intensity has no counts by subject, so nothing is told from all of its column.
    assert not any(cell.is_bold for cell in table.cells.values())
    text = as_csv(report)
    assert ",auc_selected,auc_split,optimism,seed_sd,n_with_lesion,n_effective,df,separated" in text
    assert f"[{best.interval[0]:.3f}, {best.interval[1]:.3f}]" in as_latex(report)  # type: ignore[index]
    markdown = as_markdown(report)
    assert f"\\[{best.interval[0]:.3f}–{best.interval[1]:.3f}\\]" in markdown  # type: ignore[index]
    assert all(one.split(":")[0] in markdown for one in evidence_sentences(report, table))


def test_each_line_stands_beside_the_highest_other(report: Report) -> None:
    column = ("atlas", "T1w")
    table = report.table("brain")
    told = {
        line: cell
        for (line, where), cell in table.cells.items()
        if where == column and cell.interval
    }
    ranked = sorted(told, key=lambda line: -(told[line].value or 0.0))
    for line in ranked:
        other = ranked[1] if line == ranked[0] else ranked[0]
        found = told[line].over_other
        assert found is not None
        assert (found.lower, found.higher) == (":".join(other), ":".join(line))
        expected = (told[line].value or 0.0) - (told[other].value or 0.0)
        assert found.difference == pytest.approx(expected, abs=1e-4)
        assert found.low < found.difference < found.high
    family = [cell.over_other for cell in told.values() if cell.over_other]
    assert [one.is_separated for one in family] == [one.is_separated for one in by_holm(family)]
    # The intensity has no counts by subject, so nothing is told of a difference from it.
    assert all(cell.over_baseline is None for cell in told.values())


def test_the_papers_claim_is_answered_for_each_test_set(
    study: StudyStore, record: StudyRecord, report: Report
) -> None:
    from study.report.report import evidence_sentences

    sentences = evidence_sentences(report, report.table("brain"))
    claim = next(s for s in sentences if s.startswith("atlas T1w: U < SE"))
    assert "U < SE holds" in claim
    assert "does not hold as a whole" in claim or "U < SE < L < E holds" in claim
    assert any(f"{N} subjects with lesion pixels" in s for s in sentences)


def test_what_was_worked_out_is_kept_and_found_again(
    study: StudyStore, record: StudyRecord, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = as_json(report)
    report.keep_statistics()
    assert read_statistics(study)

    def refuse(*_: object) -> None:
        raise AssertionError("counts were read again")

    monkeypatch.setattr(module, "shared_bins", refuse)
    assert as_json(make_report(study, record)) == first


def test_a_record_that_changed_is_worked_out_anew(
    study: StudyStore, record: StudyRecord, report: Report
) -> None:
    rows = {(r["trial_id"], r["score"], r["region"], r["cohort"]): r for r in report.rows}
    report.keep_statistics()
    trial = next(t for t in record.trials if t.spec.model == "ae")
    (counts,) = draw(DISEASES["strokes"], N, np.random.default_rng(9))
    put_counts(study, trial.trial_id, {"squared_error": counts})
    for row in make_report(study, record).rows:
        before = rows[row["trial_id"], row["score"], row["region"], row["cohort"]]
        changed = row["auc_low"] != before["auc_low"]
        assert changed == (row["trial_id"] == trial.trial_id)


def test_counts_without_their_columns_have_no_interval(
    study: StudyStore, record: StudyRecord
) -> None:
    for trial in record.trials:
        if trial.spec.model == "ae":
            store = study.trial(trial.trial_id)
            for eval_id in store.storage.names("eval"):
                evaluation = store.evaluation(eval_id)
                assert evaluation is not None
                part = store.storage.sub(f"eval/{eval_id}")
                metrics = store.read_part(evaluation, "metrics.parquet")
                files = {"metrics.parquet": metrics, "subjects.parquet": metrics}
                parts = Attempt(part).put_all(files)
                store.write_evaluation(evaluation.model_copy(update={"parts": parts}))
    rows = [row for row in make_report(study, record).rows if row["model"] == "ae"]
    assert rows
    assert all(row["auc_low"] is None for row in rows)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"x" * 500])
def test_statistics_that_are_damaged_count_as_none(
    study: StudyStore, record: StudyRecord, report: Report, content: bytes
) -> None:
    first = as_json(report)
    study.storage.put(PATH, content)
    assert as_json(make_report(study, record)) == first


def test_a_choice_is_worth_less_than_its_best_figure(
    study: StudyStore, record: StudyRecord
) -> None:
    found = Evidence(study, load_index(study)).of_choice(
        [
            [{"trial_id": t.trial_id, "eval_id": e.eval_id, "score": s, "region": "brain"}]
            for t in record.trials
            if t.spec.model == "vae" and t.spec.modality == "T1w"
            for e in t.evals
            if e.cohort == "atlas"
            for s in ("squared_error", "nll")
        ]
    )
    assert found is not None
    assert found.optimism > -0.02
    assert found.low <= found.selected <= found.high


@pytest.fixture
def shards(study: StudyStore, record: StudyRecord, tmp_path: Path) -> Storage:
    """The manifests of the test cohorts: lesions of 0, 3, 6, ... ml, two sites, ages of some."""
    store = Storage.open(str(tmp_path / "store"))
    for cohort in record.cohorts:
        records = tuple(
            ScanRecord(
                key=f"{number:020x}", status="ok", cohort=cohort.name, role=cohort.role,
                subject=f"s{number:03d}", session="", modality=cohort.modality, image="x",
                lesion_volume_ml=3.0 * number,
            )
            for number in range(N)
        )  # fmt: skip
        key = cohort_key(cohort.name, cohort.modality, [r.key for r in records])
        known = tuple(
            SubjectInfo(subject=r.subject, site="AB"[i % 2], age=20.0 + i if i else None)
            for i, r in enumerate(records)
        )
        write_manifest(
            store,
            CohortManifest(
                key=key, cohort=cohort.name, modality=cohort.modality, role=cohort.role,
                source="bids", synthetic=False, settings=PreprocessSettings(),
                preprocess_version=PREPROCESS_VERSION, records=records, subjects=known,
            ),
        )  # fmt: skip
    return store


def test_strata_have_the_figures_of_their_subjects_alone(
    study: StudyStore, record: StudyRecord, shards: Storage
) -> None:
    keys = {
        (c.name, c.modality): cohort_key(c.name, c.modality, [f"{i:020x}" for i in range(N)])
        for c in record.cohorts
    }
    cohorts = tuple(c.model_copy(update={"key": keys[c.name, c.modality]}) for c in record.cohorts)
    evidence = Evidence(study, load_index(study))
    best = [r for r in make_report(study, record).best if r["model"] == "ae"]
    found = strata(
        ("lesion_ml", "site", "age"),
        best,
        record.model_copy(update={"cohorts": cohorts}),
        shards,
        _of_cohort(evidence),
    )
    here = [s for s in found if (s.cohort, s.modality) == ("atlas", "T1w")]
    sizes = {(s.kind, s.name): s.n_subjects for s in here}
    assert sizes["lesion_ml", "none"] == 1
    assert sizes["lesion_ml", "1 to 10 ml"] == 3
    assert sizes["lesion_ml", "over 10 ml"] == N - 4
    assert (sizes["site", "A"], sizes["site", "B"]) == (7, 7)
    assert sizes["age", "not told"] == 1
    assert sum(n for (kind, _), n in sizes.items() if kind == "age") == N
    assert all(s.low is None or s.low <= s.auc <= s.high for s in here)  # type: ignore[operator]


def _of_cohort(evidence: Evidence) -> Evidence:
    """The made-up counts call every cohort ``c``."""
    whole = evidence.of_subjects

    def of_subjects(seeds: Sequence[Row], subjects: set[str]) -> Part | None:
        return whole(seeds, {f"c/{name.partition('/')[2]}" for name in subjects})

    evidence.of_subjects = of_subjects  # type: ignore[method-assign, assignment]
    return evidence


def test_a_study_does_not_differ_from_itself_and_other_subjects_are_said(
    study: StudyStore, record: StudyRecord, report: Report, tmp_path: Path
) -> None:
    same = replace(report, other=make_report(study, record)).differences
    assert len(same) == len({(d.model, d.score, d.cohort, d.modality) for d in same})
    known = [d.comparison for d in same if d.comparison is not None]
    assert known
    assert all((c.difference, c.is_separated) == (0, False) for c in known)
    assert all(d.comparison is None for d in same if d.model == "intensity")
    shutil.copytree(tmp_path / "store", tmp_path / "other")
    other = StudyStore.open(Storage.open(str(tmp_path / "other")), "a-study")
    (counts,) = draw(DISEASES["strokes"], N - 1, np.random.default_rng(9))
    for trial in record.trials:
        if trial.spec.model == "dae":
            put_counts(other, trial.trial_id, {"squared_error": counts})
    changed = replace(report, other=make_report(other, record)).differences
    assert {d.model for d in changed if d.comparison is None} >= {"dae", "intensity"}
