"""What is exported of a study: a run for each trial that has ended, with the report's figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from datasets.identity import digest
from datasets.storage import StorageError
from datasets.tables import read_table
from study.plan.done import plan_trials
from study.records.showcase import ShowcaseMaps, decode_showcase
from study.records.studies import StudyStore
from study.records.types import FitRecord, PlannedTrial, StudyRecord
from study.report.choice import Row
from study.report.report import Report, make_report

METRICS = (
    *("auc", "auc_low", "auc_high"),
    *("average_precision", "average_precision_low", "average_precision_high"),
    *("best_dice", "best_dice_low", "best_dice_high"),
    "mean_subject_auc",
)
"""Figures of a report's row that are exported."""

Value = str | int | float | bool


@dataclass(frozen=True)
class Loss:
    """Losses after an epoch; None where there is none."""

    epoch: int
    train: float | None
    validation: float | None


@dataclass(frozen=True)
class Run:
    """A trial that has ended.

    Attributes:
        trial_id: Its identity.
        name: What people read for it.
        model: Its detector.
        modality: Of the scans.
        params: All that was chosen: the detector's settings, seed, epochs and the like.
        status: ``done``, ``failed`` or ``stopped``.
        failure: Why it failed; empty if it did not.
        finished: When the last of its records was written, in UTC.
        losses: By epoch.
        rows: Its rows of ``report --format json``.
        evals: Its evaluations on test cohorts, by cohort.
    """

    trial_id: str
    name: str
    model: str
    modality: str
    params: dict[str, Value]
    status: str
    failure: str
    finished: str
    losses: tuple[Loss, ...]
    rows: tuple[Row, ...]
    evals: dict[str, str] = field(default_factory=dict)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Figures by name: ``atlas/nll/brain/auc``; those that are undefined are left out."""
        return {
            f"{row['cohort']}/{row['score']}/{row['region']}/{name}": float(row[name])
            for row in self.rows
            for name in METRICS
            if row.get(name) is not None
        }

    @cached_property
    def fingerprint(self) -> str:
        """What tells it from the same trial with other figures, such as after more epochs."""
        losses = [[one.epoch, one.train, one.validation] for one in self.losses]
        return digest([self.trial_id, self.status, self.params, losses, self.metrics])


@dataclass(frozen=True)
class ExportedStudy:
    """A study to export.

    Attributes:
        store: The study's store.
        record: The study's record.
        report: Its report.
    """

    store: StudyStore
    record: StudyRecord
    report: Report

    @classmethod
    def of(cls, store: StudyStore, record: StudyRecord) -> ExportedStudy:
        """A study as it is now.

        Raises:
            StorageError: If the store cannot be read.
        """
        return cls(store, record, make_report(store, record))

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.study

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        rows: dict[str, list[Row]] = {}
        for row in self.report.rows:
            rows.setdefault(row["trial_id"], []).append(row)
        return rows

    @cached_property
    def _finished(self) -> dict[str, str]:
        """When the last record of each trial was written."""
        index = self.report.index
        index = index.filter(pc.is_valid(index["finished"]))
        last = index.group_by("trial_id", use_threads=False).aggregate([("finished", "max")])
        return dict(zip(*(last[c].to_pylist() for c in ("trial_id", "finished_max")), strict=True))

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The trials that have ended, by their identity.

        Raises:
            StorageError: If the store cannot be read.
        """
        planned = {t.trial_id: t for t in plan_trials(self.record, self.report.index)}
        found = []
        for trial_id in sorted(planned.keys() & self._finished.keys()):
            fit = self.store.trial(trial_id).fit()
            if fit is not None:
                found.append(self._run(planned[trial_id], fit, self._finished[trial_id]))
        return tuple(found)

    def _run(self, trial: PlannedTrial, fit: FitRecord, finished: str) -> Run:
        spec = fit.spec
        names = self.report.names
        chosen = names.chosen(spec.model, spec.params).text
        params: dict[str, Value] = {
            "model": spec.model,
            "modality": spec.modality,
            "seed": spec.seed,
            "epochs": spec.epochs,
            "validation_fraction": spec.validation_fraction,
            **{name: _plain(value) for name, value in sorted(spec.params.items())},
        }
        failure = f"{fit.failure.kind}: {fit.failure.message}" if fit.failure else ""
        return Run(
            trial_id=trial.trial_id,
            name=f"{names.model(spec.model)} {spec.modality} {chosen} seed {spec.seed}",
            model=spec.model,
            modality=spec.modality,
            params=params,
            status=fit.status,
            failure=failure,
            finished=finished,
            losses=self._losses(fit),
            rows=tuple(self._rows.get(trial.trial_id, ())),
            evals={e.cohort: e.eval_id for e in trial.evals if e.role == "test"},
        )

    def _losses(self, fit: FitRecord) -> tuple[Loss, ...]:
        if "history.parquet" not in fit.parts:
            return ()
        data = self.store.trial(fit.trial_id).read_part(fit, "history.parquet")
        columns = ("epoch", "train_loss", "validation_loss")
        table = read_table(data, columns)
        values = zip(*(table[name].to_pylist() for name in columns), strict=True)
        return tuple(Loss(*some) for some in values if some[1] is not None)

    def pictures(self, run: Run) -> Iterator[tuple[str, Image.Image]]:
        """The showcase slices of a trial, by name; those that cannot be read are left out."""
        trial = self.store.trial(run.trial_id)
        for cohort, eval_id in sorted(run.evals.items()):
            try:
                record = trial.evaluation(eval_id)
                if record is None or "heatmaps.parquet" not in record.parts:
                    continue
                table = read_table(trial.read_part(record, "heatmaps.parquet"))
            except (StorageError, pa.ArrowException):
                continue  # the report and study.store check tell of it
            for shown in decode_showcase(table):
                subject = shown.subject.rpartition("/")[2]
                yield f"{cohort}/{subject}-{shown.slice_index}.png", strip(shown)


def strip(shown: ShowcaseMaps) -> Image.Image:
    """A slice, its lesion, its pictures and its score maps side by side."""
    image = shown.image_HW.astype(np.float32)
    panels = [image, shown.lesion_HW.astype(np.float32)]
    panels += [*shown.pictures.values(), *shown.scores.values()]
    return Image.fromarray(np.concatenate([_grey(p, shown.brain_HW) for p in panels], axis=1))


def _grey(values_HW: NDArray[np.float32], brain_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """From the lowest to the highest value in the brain, but for the highest two hundredths."""
    inside = values_HW[brain_HW] if brain_HW.any() else values_HW.reshape(-1)
    low, high = float(inside.min()), float(np.percentile(inside, 98))
    high = high if high > low else float(inside.max())
    scaled = (values_HW - low) / max(high - low, 1e-12)
    return (scaled.clip(0, 1) * 255).astype(np.uint8)


def _plain(value: Any) -> Value:
    return value if isinstance(value, str | int | float | bool) else str(value)
