"""The best settings on post-processed maps: who they are, what is run for them, what is told."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from datasets.storage import Storage
from study.plan.cost import Pace
from study.plan.done import count_trials
from study.plan.plan import train_keys
from study.plan.postprocess import POSTPROCESSINGS
from study.records.identities import Problem
from study.records.index import load_index, refresh_index
from study.records.problems import Problems
from study.records.studies import StudyStore, utc_now
from study.records.types import CohortInfo, Failure, PlannedTrial, StudyRecord
from study.report.markdown import as_markdown
from study.report.methods import gather
from study.report.methods_text import paragraph
from study.report.postprocessed import winners
from study.report.report import Report, as_csv, as_json, as_latex, make_report, print_report
from study.run.estimate import costs_of, estimate
from study.run.postprocess import postprocessing_expected, postprocessing_left
from study.store.check import Finding, check_store
from study.store.sweep import sweep
from study.terminal import PlainConsole
from study.trials.order import TrialOrder
from study.trials.trial import run_trial
from tests.grids import TINY, run_words
from tests.stores import open_study, rewrite, stamps
from trainables.evaluate import evaluate
from trainables.registry import describe
from trainables.spec import EVAL_VERSION

OrderOf = Callable[..., TrialOrder]
NAME = "a-study"


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
    paper_cohorts: tuple[CohortInfo, ...],
    make_trial: Callable[..., PlannedTrial],
    order_of: OrderOf,
    small_data: object,
) -> Path:
    """The store of a finished study: the baseline, and a mixture with two lambdas."""
    folder = tmp_path_factory.mktemp("finished") / "store"
    study = open_study(folder, NAME)
    mixtures = (make_trial("gmm", gmm_lambda=value) for value in (0.1, 0.001))
    trials = (make_trial("intensity"), *mixtures)
    study.write_study(
        StudyRecord(
            study=NAME,
            grid="g",
            synthetic=False,
            detectors={model: describe(model) for model in ("intensity", "gmm")},
            cohorts=paper_cohorts,
            trials=trials,
            created=utc_now(),
            updated=utc_now(),
            eval_version=EVAL_VERSION,
        )
    )
    keys = train_keys("T1w", paper_cohorts)
    for trial in trials:
        for event in run_trial(replace(order_of(trial), train_keys=keys), small_data, study):
            assert not event.failed, event.reason
    refresh_index(study)
    return folder


@pytest.fixture(scope="module")
def post_processed(
    finished: Path,
    tmp_path_factory: pytest.TempPathFactory,
    order_of: OrderOf,
    small_data: object,
) -> Path:
    """The same with all evaluations of post-processed maps."""
    folder = tmp_path_factory.mktemp("post-processed") / "store"
    shutil.copytree(finished, folder)
    _run(open_study(folder, NAME), order_of, small_data)
    return folder


@pytest.fixture
def raw(finished: Path, tmp_path: Path) -> StudyStore:
    """A copy of the finished study that may be written to."""
    shutil.copytree(finished, tmp_path / "raw")
    return open_study(tmp_path / "raw", NAME)


@pytest.fixture
def evaluated(post_processed: Path, tmp_path: Path) -> StudyStore:
    """A copy of the post-processed study that may be written to."""
    shutil.copytree(post_processed, tmp_path / "evaluated")
    return open_study(tmp_path / "evaluated", NAME)


def _record(study: StudyStore) -> StudyRecord:
    record = study.study()
    assert record is not None
    return record


def _left(study: StudyStore) -> list[tuple[str, str]]:
    """The evaluations that are left, by trial and place."""
    left = postprocessing_left(_record(study), load_index(study))
    return [(work.trial.trial_id, planned.place) for work in left for planned in work.evals]


def _run(study: StudyStore, order_of: OrderOf, data: object, most: int = 99):
    """Make so many of the evaluations that are left."""
    for work in postprocessing_left(_record(study), load_index(study)):
        for event in run_trial(order_of(work.trial, fit=False), data, study):
            assert not event.failed, event.reason
            assert not event.auc  # it neither leads a search nor is the best so far
            most -= 1
            if most == 0:
                return
    refresh_index(study)


def _report(study: StudyStore) -> Report:
    return make_report(study, _record(study))


def _text(report: Report) -> str:
    sink = io.StringIO()
    print_report(report, PlainConsole(file=sink, width=160, no_color=True, highlight=False))
    return sink.getvalue()


def test_the_winners_are_evaluated_once_more_and_nothing_is_trained(
    raw: StudyStore, order_of: OrderOf, small_data: object
) -> None:
    best = {(r["trial_id"], r["cohort"]) for r in _report(raw).best if r["region"] == "brain"}
    assert {trial for trial, _ in best} != {t.trial_id for t in _record(raw).trials}
    wanted = {(trial, f"{cohort}, {p.label}") for trial, cohort in best for p in POSTPROCESSINGS}
    assert set(_left(raw)) == wanted
    folder = Path(raw.storage.root)
    before = stamps(folder)
    _run(raw, order_of, small_data)
    after = stamps(folder)
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + len(wanted)
    assert not _left(raw)


def test_what_is_there_is_not_made_again(
    raw: StudyStore, order_of: OrderOf, small_data: object
) -> None:
    _run(raw, order_of, small_data, most=3)
    refresh_index(raw)
    before, n = stamps(Path(raw.storage.root)), len(_left(raw))
    assert 0 < n < len(winners(_record(raw), load_index(raw))) * 2 * len(POSTPROCESSINGS)
    _run(raw, order_of, small_data)
    after = stamps(Path(raw.storage.root))
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + n


def test_raw_figures_are_the_same_to_the_byte_with_and_without(
    raw: StudyStore, evaluated: StudyStore
) -> None:
    formats = (_text, as_json, as_csv, as_latex, as_markdown)
    without = [make(_report(raw)) for make in formats]
    counts = count_trials(_record(raw), load_index(raw))
    text, as_object, csv, latex, markdown = (make(_report(evaluated)) for make in formats)
    assert csv == without[2]
    assert latex.startswith(without[3])
    assert latex.count(r"\begin{table}") == 2
    content = json.loads(as_object)
    assert content.pop("postprocessed")
    assert json.dumps(content, indent=1) == without[1]
    for one, other in ((text, without[0]), (markdown, without[4])):
        start = one.index("After post-processing")
        assert one.startswith(other[:start])
        assert one.endswith(other[start:].lstrip("\n"))
    assert count_trials(_record(evaluated), load_index(evaluated)) == counts


def test_figures_are_those_of_the_fit_on_post_processed_maps(
    evaluated: StudyStore, small_data
) -> None:
    cells = _report(evaluated).postprocessed
    cell = next(c for c in cells if (c.model, c.cohort, c.score) == ("intensity", "atlas", c.score))
    detector = _record(evaluated).trials[0].spec.detector()
    for figures, done in zip((cell.raw, *cell.after), (None, *POSTPROCESSINGS), strict=True):
        result = evaluate(detector, small_data.test("atlas"), postprocessing=done)
        row = next(
            r
            for r in result.metrics.to_pylist()
            if (r["score"], r["region"]) == (cell.score, "brain")
        )
        assert {k: row[k] for k in asdict(figures) if k != "postprocessing"} == {
            k: v for k, v in asdict(figures).items() if k != "postprocessing"
        }
    assert cell.raw.auc != cell.after[0].auc
    told = paragraph(
        gather(Storage.open(str(Path(evaluated.storage.root).parents[1])), _report(evaluated))
    )
    assert all(done.label in told for done in POSTPROCESSINGS)


def test_the_store_is_right_and_gc_removes_nothing_of_it(evaluated: StudyStore) -> None:
    store = Storage.open(str(Path(evaluated.storage.root).parents[1]))
    findings = [f for f in check_store(store) if isinstance(f, Finding) and f.problem]
    assert not findings
    assert not sweep(store, evaluated).paths


def test_settings_of_post_processing_are_part_of_the_identity(evaluated: StudyStore) -> None:
    folder = Path(evaluated.storage.root)
    path = next(
        path
        for path in sorted(folder.glob("trials/*/eval/*/manifest.json"))
        if json.loads(path.read_text())["postprocessing"]
    )
    told = json.loads(path.read_text())["postprocessing"]
    for changed in (told | {"median_voxels": 3}, told | {"version": 2}, None):
        rewrite(path, postprocessing=changed)
        assert Problems.of(load_index(evaluated)).counts == {Problem.DAMAGED: 1}
    rewrite(path, postprocessing=told)
    assert not Problems.of(load_index(evaluated)).counts


def test_a_failed_evaluation_is_told_and_fails_no_trial(evaluated: StudyStore) -> None:
    counts = count_trials(_record(evaluated), load_index(evaluated))
    trial = winners(_record(evaluated), load_index(evaluated))[0]
    store, name = evaluated.trial(trial.trial_id), trial.evals[0].eval_id
    done = store.evaluation(name)
    assert done is not None
    failure = Failure(kind="E", message="m", traceback="t")
    change = {"status": "failed", "parts": {}, "failure": failure}
    store.write_evaluation(done.model_copy(update=change))
    report = _report(evaluated)
    assert report.n_postprocessing_failed == 1
    assert "1 evaluation of post-processed maps failed" in _text(report)
    assert report.trials == counts
    assert not _left(evaluated)
    again = postprocessing_left(_record(evaluated), load_index(evaluated), retry_failed=True)
    assert [e.eval_id for work in again for e in work.evals] == [name]


def test_the_estimate_knows_of_post_processing_before_and_after_the_trials(
    raw: StudyStore, evaluated: StudyStore
) -> None:
    record, index = _record(raw), load_index(raw)
    foreseen = postprocessing_expected(record, index, [object()])
    exact = postprocessing_expected(record, index, [])
    n_foreseen = sum(len(work.evals) for work in foreseen)
    n_exact = sum(len(work.evals) for work in exact)
    assert n_exact <= n_foreseen
    assert n_exact == len(_left(raw))
    pace = Pace(count_s=0.01)
    words = estimate([], {}, pace, 2, costs_of(exact, record.cohorts, pace)).words
    assert f"for {n_exact} evaluations after post-processing" in words
    assert postprocessing_expected(record, load_index(evaluated), []) == []


@pytest.mark.slow
def test_a_run_post_processes_its_winners_and_the_next_one_does_nothing(
    start: Callable[..., object], prepared_store: Path, tmp_path: Path
) -> None:
    grid = TINY.replace("{}", '{"ixi": 5, "atlas": 3, "brats": 3}')  # as the store's phantom
    words = (*run_words(tmp_path, "tiny", grid), "--store", prepared_store)
    plain = start(*words)
    assert plain.wait() == 0, plain.describe()
    study = open_study(prepared_store, "s")
    assert "after post-processing" not in plain.out
    before = stamps(prepared_store)
    told = start(*words, "--postprocess", "--dry-run")
    assert told.wait() == 0, told.describe()
    n = len(_left(study))
    assert f"for {n} evaluations after post-processing" in told.out
    run = start(*words, "--postprocess")
    assert run.wait() == 0, run.describe()
    assert "After post-processing, over brain pixels" in run.out
    after = stamps(prepared_store)
    trials = {path: stamp for path, stamp in before.items() if "/trials/" in path}
    assert {path: after[path] for path in trials} == trials
    assert sum("/trials/" in path for path in after) == len(trials) + n
    nowhere = start(*words, "--postprocess", "--address", "127.0.0.1:1")  # who asks for Ray fails
    assert nowhere.wait() == 0, nowhere.describe()
    assert stamps(prepared_store) == after
