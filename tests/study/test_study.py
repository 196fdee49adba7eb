"""Whole studies, run by the command: complete, resumable, repeatable, and honest about failures."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.plan.plan import build_plan
from study.records.studies import StudyStore
from study.records.types import StudyRecord
from study.run.request import RunOptions, make_request
from tests.grids import SMOKE_WORDS, run_words
from tests.stores import digested_anew, history, open_study, stamps, study_content

pytestmark = pytest.mark.slow

NAME = "smoke-phantom"
SMOKE = ("study.run", *SMOKE_WORDS, "--store")
NOWHERE = ("--address", "127.0.0.1:1")
"""A Ray cluster that is not there: whoever asks for Ray fails."""


def _study(store: Path, name: str = NAME) -> StudyStore:
    return open_study(store, name)


def _record(study: StudyStore) -> StudyRecord:
    record = study.study()
    assert record is not None
    return record


def _report(run: Callable[..., Any], store: Path) -> str:
    out: str = run("study.report", "--store", store, "--format", "json").out
    return out


@pytest.fixture(scope="module")
def finished_store(smoke_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished study for commands that write there that they have begun."""
    store: Path = tmp_path_factory.mktemp("finished") / "runs"
    shutil.copytree(smoke_store, store)
    return store


def trial_stamps(store: Path) -> dict[str, tuple[int, bytes]]:
    """When and how each record of the study's trials was written."""
    folder = f"studies/{NAME}/trials/"
    return {p.removeprefix(folder): s for p, s in stamps(store).items() if p.startswith(folder)}


def test_a_study_ends_with_every_figure_finite_or_null(
    run: Callable[..., Any], smoke_store: Path
) -> None:
    report = json.loads(_report(run, smoke_store))
    assert report["synthetic"] is True
    assert report["trials"] == {"planned": 12, "done": 12, "failed": 0, "running": 0}
    assert {r["model"] for r in report["rows"]} == {"ae", "dae", "gmm", "intensity", "vae"}
    columns = {(r["cohort"], r["modality"]) for r in report["rows"]}
    assert columns == {("atlas", "T1w"), ("brats", "T1w"), ("brats", "T2w")}
    assert {r["region"] for r in report["rows"]} == {"brain", "slice"}
    for row in report["rows"]:
        for figure in ("auc", "average_precision", "best_dice", "chance_average_precision"):
            assert math.isfinite(row[figure])
            assert 0 <= row[figure] <= 1
        assert row["n_pixels"] > row["n_positive"] > 0
        assert row["n_subjects"] == 3
    cells = {
        (r["model"], r["score"], r["cohort"], r["modality"], r["region"]) for r in report["rows"]
    }
    assert sum(r["best"] for r in report["rows"]) == len(cells)


def test_a_run_says_how_fast_it_is_and_how_long_it_takes(smoke_run: Path) -> None:
    out = (smoke_run / "out").read_text()
    assert "Networks compute in float32, as asked for." in out
    assert "This will take about" in out
    # As soon as trials run, whoever reads a log is told how fast they are and how long they take.
    lines = [line for line in out.splitlines() if line.startswith("trials: ")]
    told = [line for line in lines if re.search(r"[2-9] running|1 running", line)]
    assert all(re.search(r"elapsed \d.*, left \d", line) for line in told)
    assert any(re.search(r" [1-9]\d* slices/s", line) for line in told)


def test_every_record_of_a_study_is_done_whole_and_named(smoke_store: Path) -> None:
    study = _study(smoke_store)
    planned = {t.trial_id: t for t in _record(study).trials}
    assert set(study.storage.names("trials")) == set(planned)
    named = set()
    for trial_id, plan in planned.items():
        trial = study.trial(trial_id)
        fit = trial.fit()
        assert fit is not None
        assert (fit.status, fit.spec) == ("done", plan.spec)
        assert trial.checkpoint() is None
        assert set(trial.storage.names("eval")) == {e.eval_id for e in plan.evals}
        for record in (fit, *(trial.evaluation(e.eval_id) for e in plan.evals)):
            assert record is not None
            assert record.status == "done"
            for name, part in record.parts.items():
                assert len(trial.read_part(record, name)) == part.size
            folder = "" if record is fit else f"eval/{record.eval_id}/"
            named |= {f"trials/{trial_id}/{folder}{p.path}" for p in record.parts.values()}
    parts = {p for p in study.storage.files("trials") if "/attempts/" in p}
    assert parts == named


def test_the_store_passes_its_own_check(run: Callable[..., Any], smoke_store: Path) -> None:
    assert run("study.store", "check", smoke_store).out.strip().endswith("0 are wrong")


def test_a_record_of_a_newer_version_is_never_replaced_and_a_run_that_lacks_it_says_so(
    run: Callable[..., Any], smoke_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(smoke_store, store)
    manifest = next(store.glob(f"studies/{NAME}/trials/*/manifest.json"))
    newer = manifest.read_bytes().replace(b'"store_version": 1', b'"store_version": 99')
    manifest.write_bytes(digested_anew(newer))
    before = stamps(store)
    outcome = run(*SMOKE, store, *NOWHERE, status=1)  # it does not even ask for Ray
    assert "1 record does not count here: 1 of another version" in outcome.out
    assert "1 of 12 trials have no record at the end" in outcome.out
    assert f"study.store check {store}" in outcome.out
    assert stamps(store) == before
    assert '"newer": 1' in run("study.report", "--store", store, "--format", "json", status=1).out


def test_the_same_command_again_runs_nothing_and_needs_no_ray(
    run: Callable[..., Any], finished_store: Path
) -> None:
    before, report = trial_stamps(finished_store), _report(run, finished_store)
    again = run(*SMOKE, finished_store, *NOWHERE)
    assert "12 of 12 trials done, 0 failed" in again.out
    assert again.err == ""
    assert trial_stamps(finished_store) == before
    assert _report(run, finished_store) == report


def test_a_dry_run_of_a_finished_study_finds_nothing_to_do(
    run: Callable[..., Any], finished_store: Path
) -> None:
    before = trial_stamps(finished_store)
    lines = run(*SMOKE, finished_store, "--dry-run").out.splitlines()
    for line in ("networks: 6", "gmm: 4", "baselines: 2", "already done: 12"):
        assert line in lines
    assert trial_stamps(finished_store) == before


def test_fewer_epochs_than_there_are_is_wrong_use_and_changes_nothing(
    run: Callable[..., Any], finished_store: Path
) -> None:
    before, stamps = _study(finished_store).study(), trial_stamps(finished_store)
    refused = run(*SMOKE, finished_store, "--epochs", "1", *NOWHERE, status=2)
    assert "already trained for 4 epochs" in refused.err
    assert len(refused.err.strip().splitlines()) == 1
    assert _study(finished_store).study() == before
    assert trial_stamps(finished_store) == stamps


def test_a_study_killed_between_epochs_goes_on_and_ends_on_the_same_bits(
    run: Callable[..., Any],
    start: Callable[..., Any],
    until: Callable[..., None],
    smoke_store: Path,
    prepared_store: Path,
) -> None:
    study = _study(prepared_store)

    def interrupted() -> list[str]:
        """Fits that have a checkpoint and at least two epochs to go."""
        found = []
        for name in study.storage.names("trials"):
            checkpoint = study.trial(name).checkpoint()
            if checkpoint is not None and checkpoint.epoch <= 2 and study.trial(name).fit() is None:
                found.append(name)
        return found

    def finished() -> bool:
        names = study.storage.names("trials")
        return any(study.storage.exists(f"trials/{n}/manifest.json") for n in names)

    # The first fit to end leaves its process to the next, so that both kinds are there.
    first = start("-m", *SMOKE, prepared_store)

    def held() -> bool:
        """Stop it where a fit has finished and another has a checkpoint, or let it go on."""
        assert first.status is None, first.describe()
        if not (finished() and interrupted()):
            return False
        first.signal_all(signal.SIGSTOP)
        if interrupted():
            return True
        first.signal_all(signal.SIGCONT)
        return False

    until(held, "a fit has finished and another has a checkpoint")
    first.signal_all(signal.SIGKILL)  # also the workers: one that went on might finish its fit
    first.process.wait()
    until(lambda: not first.left_over(), "the killed driver's workers are gone")
    stopped, before = interrupted(), trial_stamps(prepared_store)
    assert stopped, "the kill came too late: no fit is unfinished"
    assert before, "the kill came too early: no fit is finished"
    epochs = {name: study.trial(name).checkpoint() for name in stopped}

    run(*SMOKE, prepared_store)
    after = trial_stamps(prepared_store)
    assert {name: after[name] for name in before} == before, "a finished trial ran again"
    for name in stopped:
        trial = study.trial(name)
        fit = trial.fit()
        assert fit is not None
        assert fit.attempts == 2
        rows = history(trial)
        checkpoint = epochs[name]
        assert checkpoint is not None
        assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
        assert [row["attempt"] for row in rows] == [
            1 if row["epoch"] <= checkpoint.epoch else 2 for row in rows
        ]
    assert _report(run, prepared_store) == _report(run, smoke_store)
    ours, undisturbed = study_content(study), study_content(_study(smoke_store))
    assert ours.keys() == undisturbed.keys()
    for name, content in ours.items():
        differing = [k for k in content if content[k] != undisturbed[name].get(k)]
        assert not differing, f"{name} differs in {differing}"
    assert (
        run("study.store", "gc", prepared_store, "--dry-run")
        .out.strip()
        .endswith("0 files would be removed")
    )


DIVERGING = '''
"""A network whose loss runs off, and the baseline."""

from study.grids._grid import Grid, GridTrial

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        GridTrial("ae", {"n_c": 8, "n_z": 16, "learning_rate": 1e30}, epochs=2),
    ),
    searches=(),
    phantom_subjects={"ixi": 5, "atlas": 3, "brats": 3},
)
'''


def test_failures_are_records_and_the_study_goes_on(
    start: Callable[..., Any], prepared_store: Path, tmp_path: Path
) -> None:
    words = (*run_words(tmp_path, "diverging", DIVERGING), "--store", prepared_store)
    study = _study(prepared_store, "s")

    def run_again(*more: str, status: int = 3) -> Any:
        command = start(*words, *more)
        assert command.wait() == status, command.describe()
        return command

    # A file lies where one of the trials would have its folder: its records cannot be written.
    blocked = study.storage.root + "/trials/" + _some_intensity_trial(prepared_store)
    Path(blocked).parent.mkdir(parents=True)
    Path(blocked).touch()
    first = run_again(status=1)
    assert "No record: intensity" in first.out
    assert "2 trials failed" in first.out
    assert re.search(r"AE T1w \S.* training and 1 more: NonFiniteLossError: ", first.out)
    assert "Traceback" not in first.out + first.err
    record = _record(study)
    states = {}
    for planned in record.trials:
        if planned.trial_id not in blocked:
            fit = study.trial(planned.trial_id).fit()
            assert fit is not None
            states[planned.spec.model, planned.spec.modality] = fit
    diverged = [fit for (model, _), fit in states.items() if model == "ae"]
    assert len(diverged) == 2
    for fit in diverged:
        assert fit.status == "failed"
        assert fit.failure is not None
        assert fit.failure.kind == "NonFiniteLossError"
        assert "Traceback" in fit.failure.traceback
    assert [fit.status for (model, _), fit in states.items() if model == "intensity"] == ["done"]

    # With the disk mended the same command does what was left, and that alone.
    Path(blocked).unlink()
    second = run_again()
    assert "No record" not in second.out
    assert "2 of 4 trials done, 2 failed" in second.out
    assert [study.trial(fit.trial_id).fit() for fit in states.values()] == list(states.values())

    third = run_again(*NOWHERE)
    assert "2 of 4 trials done, 2 failed" in third.out

    run_again("--retry-failed")
    again = [study.trial(fit.trial_id).fit() for fit in diverged]
    for now, before in zip(again, diverged, strict=True):
        assert now is not None
        assert now.failure is not None
        assert now.attempts == before.attempts + 1
        assert before.failure is not None
        assert now.failure.message == before.failure.message
    intensity = [fit for (model, _), fit in states.items() if model == "intensity"]
    assert [study.trial(fit.trial_id).fit() for fit in intensity] == intensity


def _some_intensity_trial(store: Path) -> str:
    """The identity that the baseline's first trial will have on the prepared cohorts."""
    from study.prepare.listing import survey

    request = make_request("smoke", None, str(store), None, RunOptions())
    listings = survey(request.cohorts, request.store, request.settings)
    cohorts = tuple(listing.info() for listing in listings)
    plan = build_plan(request.grid, cohorts, seeds=(0,), epochs=None)
    return next(t.trial_id for t in plan.trials if t.spec.model == "intensity")
