"""Claim: the phantom is a fair world; what cannot be seen is not found.

With the lesions' contrast set to zero, a score can only profit from where lesions lie: in tissue
that looks a certain way. How much that gives is told by the masks of other subjects laid over the
same images. Run a study first, then this on its store:

    python -m study.run --grid small
    python -m benchmarks.fairness --store runs --study small-phantom
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load

from datasets.settings import PreprocessSettings
from datasets.storage import Storage
from study.cluster import connection
from study.grids._grid import load_grid
from study.prepare.cohorts import Cohort, phantom_cohorts
from study.prepare.preparation import Preparation
from study.progress.live import View
from study.progress.monitor import Monitor
from study.progress.tracker import Tracker
from study.records.names import Names
from study.records.studies import StudyStore
from study.records.types import StudyRecord
from study.report.choice import best_rows
from study.report.report import make_report
from study.trials.data import test_slices
from trainables.detector import Detector
from trainables.evaluate import evaluate
from trainables.slices import Slices


def other_masks(test: Slices) -> Slices:
    """The same images, each subject's masks taken from the next at the same relative height."""
    rows = [rows for _, rows in test.by_subject()]
    lesion_bits_NK = np.empty_like(test.lesion_bits_NK)
    for mine, theirs in zip(rows, rows[1:] + rows[:1], strict=True):
        at = np.linspace(theirs.start, theirs.stop - 1, mine.stop - mine.start).round().astype(int)
        lesion_bits_NK[mine] = test.lesion_bits_NK[at]
    return replace(test, lesion_bits_NK=lesion_bits_NK)


def invisible(cohorts: Sequence[Cohort], folder: Path) -> list[Cohort]:
    """The test cohorts with lesions that leave no trace in the images."""
    blind = []
    for cohort in cohorts:
        if cohort.role == "test" and cohort.options is not None:
            options = cohort.options.model_copy(update={"lesion_contrast": 0.0})
            root = folder / cohort.name
            blind.append(cohort.model_copy(update={"options": options, "root": root}))
    return blind


def main(
    store: Annotated[str, typer.Option()] = "runs",
    study: Annotated[str, typer.Option()] = "small-phantom",
) -> None:
    """Print each best trial's AUC on visible lesions, invisible ones, and others' masks."""
    console = Console(width=140)
    main_store = Storage.open(store)
    study_store = StudyStore.open(main_store, study)
    record = study_store.study()
    if record is None:
        raise typer.BadParameter(f"no study {study!r} in {store!r}; run it first")
    with TemporaryDirectory() as folder:
        sets = _blind_sets(record, Storage.open(f"{folder}/runs"), Path(folder), console)
        table = Table(title="ROC-AUC, brain region: the phantom's lesions seen and unseen")
        for name in ("model", "score", "cohort", "trial"):
            table.add_column(name)
        for name in ("visible", "contrast 0", "others' masks"):
            table.add_column(name, justify="right")
        names = Names(record.detectors)
        rows = [r for r in make_report(study_store, record).rows if r["region"] == "brain"]
        for row in best_rows(rows, "auc"):
            detector = _detector(study_store, row["trial_id"])
            test = sets[row["cohort"], row["modality"]]
            unseen, others = (_auc(detector, t, row["score"]) for t in (test, other_masks(test)))
            line = (names.model(row["model"]), names.score(row["model"], row["score"]))
            place = f"{row['cohort']} {row['modality']}"
            figures = (f"{value:.3f}" for value in (row["auc"], unseen, others))
            table.add_row(*line, place, row["setting"], *figures)
    console.print(table)


def _blind_sets(
    record: StudyRecord, store: Storage, folder: Path, console: Console
) -> dict[tuple[str, str], Slices]:
    connection.configure(verbose=False)
    subjects = load_grid(record.grid).phantom_subjects
    cohorts = invisible(phantom_cohorts(folder, subjects), folder / "blind")
    tracker = Tracker()
    with View(tracker, console) as view, connection.connected(None, verbose=False) as ray:
        settings = PreprocessSettings()
        work = Preparation(cohorts, store, settings, lambda: ray, Monitor(tracker, view))
        listings = work.run()
        return {
            (x.cohort.name, x.modality): test_slices(store, x.manifest)
            for x in listings
            if x.manifest is not None
        }


def _detector(study: StudyStore, trial_id: str) -> Detector:
    trial = study.trial(trial_id)
    fit = trial.fit()
    assert fit is not None
    detector = fit.spec.detector()
    detector.load_state(load(trial.read_part(fit, "model.safetensors")))
    return detector


def _auc(detector: Detector, test: Slices, score: str) -> float:
    rows = evaluate(detector, test, n_showcase=0).metrics.to_pylist()
    return next(r["auc"] for r in rows if (r["score"], r["region"]) == (score, "brain"))


if __name__ == "__main__":
    typer.run(main)
