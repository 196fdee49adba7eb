"""Table 1 at thresholds that need no test labels, and the false alarms on healthy subjects.

A threshold is chosen for each fit and score on the healthy cohorts of its modality or, where there
are none, on the subjects held out of training (:mod:`study.report.thresholds`). A healthy cohort's
own false alarms are measured at thresholds that were chosen on others, never on itself.

Like intervals, what was worked out is kept in ``statistics.parquet``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.report.choice import Row
from study.report.detection import (
    Subjects,
    at_threshold,
    marked_ml,
    slice_auc,
    subject_auc,
)
from study.report.evidence import Evidence
from study.report.thresholds import (
    FEW,
    SHARES,
    marked_sd,
    marked_share,
    threshold_name,
    thresholds,
)
from trainables.spec import HELD_OUT

REGION = "brain"
"""The pixels that thresholds are about."""

_KEPT = 6
"""Evaluations whose parts stay in memory: rows are asked for trial by trial."""


@dataclass(frozen=True)
class OperatingPoint:
    """A row of results at one threshold; figures are None where they are undefined.

    Attributes:
        threshold: Its name, such as ``healthy:5%``.
        value: The score that pixels have to reach.
        marked: Share of the reference's brain pixels that do.
        marked_sd: Standard deviation of that share over the reference's subjects.
        sensitivity: See :class:`study.report.detection.AtThreshold`, and the others.
        dice: Over all pixels.
        false_positive_ml: In ml a scan.
        lesions_half: Share of the lesions of which at least half is marked.
        lesions_any: Share of them of which any pixel is marked.
    """

    threshold: str
    value: float | None = None
    marked: float | None = None
    marked_sd: float | None = None
    sensitivity: float | None = None
    dice: float | None = None
    false_positive_ml: float | None = None
    lesions_half: float | None = None
    lesions_any: float | None = None


@dataclass(frozen=True)
class Operating:
    """What a row of results, or the seeds of a setting, are at every threshold.

    Attributes:
        reference: The healthy cohorts that thresholds were chosen on, or ``held out``.
        n_reference: How many subjects these have.
        points: One for each of :data:`study.report.thresholds.SHARES`.
        n_lesions: Connected lesions of the test set.
        slice_auc: Slices with lesion pixels against those without, by their highest 1 % of pixels.
        subject_detection_auc: Subjects with lesion pixels against those without, the reference's
            among them, by the same.
    """

    reference: tuple[str, ...]
    n_reference: int
    points: tuple[OperatingPoint, ...]
    n_lesions: int | None = None
    slice_auc: float | None = None
    subject_detection_auc: float | None = None

    @property
    def is_uncertain(self) -> bool:
        """Whether so few subjects chose the thresholds that they may be far off."""
        return self.n_reference < FEW

    def as_fields(self) -> dict[str, Any]:
        """What a row of the report's JSON has of it."""
        shared = {
            "reference": list(self.reference),
            "n_reference": self.n_reference,
            "is_uncertain": self.is_uncertain,
        }
        return {
            "operating_points": [asdict(point) | shared for point in self.points],
            "n_lesions": self.n_lesions,
            "slice_auc": self.slice_auc,
            "subject_detection_auc": self.subject_detection_auc,
        }


NO_FIELDS: dict[str, Any] = {
    "operating_points": [],
    "n_lesions": None,
    "slice_auc": None,
    "subject_detection_auc": None,
}
"""The same of a row for which nothing is known."""


@dataclass(frozen=True)
class FalseAlarms:
    """What a threshold marks of healthy subjects that did not choose it.

    Attributes:
        trial_id: The fit.
        model: Its detector.
        score: The score.
        modality: Of the scans.
        setting: The settings, as people read them.
        seed: The seed.
        cohort: The healthy cohort, or ``held out``.
        n_subjects: How many subjects it has.
        threshold: Name of the threshold.
        reference: The healthy cohorts that the threshold was chosen on, or ``held out``.
        n_reference: How many subjects these have.
        is_uncertain: Whether these are fewer than ten.
        marked: Share of its brain pixels that are marked; None where nothing was worked out.
        marked_ml: The same in ml a scan.
    """

    trial_id: str
    model: str
    score: str
    modality: str
    setting: str
    seed: int
    cohort: str
    n_subjects: int
    threshold: str
    reference: tuple[str, ...]
    n_reference: int
    is_uncertain: bool
    marked: float | None
    marked_ml: float | None


def choosing(healthy: Sequence[Row]) -> list[Row]:
    """Those of a fit's evaluations on healthy subjects that choose its thresholds.

    Where there are healthy cohorts, they do; else the subjects that were held out of training.
    """
    cohorts = [one for one in healthy if one["cohort"] != HELD_OUT]
    return cohorts or list(healthy)


class OperatingPoints:
    """Works figures out as they are asked for; of one thread.

    Args:
        healthy: The index's rows of a study's evaluations on healthy subjects.
        evidence: Keeps what was worked out, and reads the parts of evaluations.
    """

    def __init__(self, healthy: pa.Table, evidence: Evidence) -> None:
        self._healthy = healthy.filter(
            pc.and_(pc.equal(healthy["status"], "done"), pc.equal(healthy["region"], REGION))
        )
        self._evidence = evidence
        self._parts: dict[tuple[str, str], pa.Table | None] = {}

    @cached_property
    def _of_fit(self) -> dict[tuple[str, str], list[Row]]:
        """The rows of healthy subjects by trial and score, by name of the cohort."""
        columns = ["trial_id", "score", "region", "eval_id", "cohort", "n_subjects"]
        found: dict[tuple[str, str], list[Row]] = {}
        for row in self._healthy.select(columns).to_pylist():
            found.setdefault((row["trial_id"], row["score"]), []).append(row)
        return {place: sorted(rows, key=lambda r: r["cohort"]) for place, rows in found.items()}

    @cached_property
    def _scores(self) -> dict[str, list[str]]:
        """The scores of each trial that healthy subjects have."""
        found: dict[str, list[str]] = {}
        for trial_id, score in self._of_fit:
            found.setdefault(trial_id, []).append(score)
        return found

    def reference(self, row: Row, measured: str = "") -> list[Row]:
        """The rows of the healthy subjects that choose the thresholds of a row's fit and score.

        Args:
            row: A row of results.
            measured: The healthy cohort whose false alarms are to be measured, which may not
                choose.
        """
        known = self._of_fit.get((row["trial_id"], row["score"]), [])
        return choosing([one for one in known if one["cohort"] != measured])

    def of_cell(self, seeds: Sequence[Row]) -> Operating | None:
        """What a row is, or the mean over the seeds of a setting.

        Args:
            seeds: Rows of results over brain pixels that differ in their seeds.

        Returns:
            None where there are no healthy subjects to choose by, or nothing was kept.
        """
        found = [self._of_row(row) for row in seeds]
        known = [one for one in found if one is not None]
        if not known or len(known) < len(found):
            return None
        if len(known) == 1:
            return known[0]
        first = known[0]
        points = []
        for number, point in enumerate(first.points):
            values = [asdict(one.points[number]) for one in known]
            names = [name for name in values[0] if name != "threshold"]
            means = {name: _mean([value[name] for value in values]) for name in names}
            points.append(OperatingPoint(point.threshold, **means))
        return Operating(
            first.reference,
            first.n_reference,
            tuple(points),
            first.n_lesions,
            _mean([one.slice_auc for one in known]),
            _mean([one.subject_detection_auc for one in known]),
        )

    def false_alarms(self, rows: Sequence[Row]) -> list[FalseAlarms]:
        """The false alarms of the fits of some rows of results, each fit and score once."""
        told: dict[tuple[str, str], Row] = {}
        for row in rows:
            if row["region"] == REGION:
                told.setdefault((row["trial_id"], row["score"]), row)
        found = []
        for place, row in told.items():
            for healthy in self._of_fit.get(place, []):
                reference = self.reference(row, healthy["cohort"])
                if reference:
                    found += self._alarms(row, healthy, reference)
        return found

    def _of_row(self, row: Row) -> Operating | None:
        reference = self.reference(row)
        if row["region"] != REGION or not reference:
            return None
        # Rows come score by score, and an evaluation is read once for all of its scores.
        kept = self._of_evaluation(row)[row["score"]]
        points = []
        for share in SHARES:
            place = _place(share)
            names = [name for name in OperatingPoint.__dataclass_fields__ if name != "threshold"]
            values = {name: kept.get(f"{name}_{place}") for name in names}
            points.append(OperatingPoint(threshold_name(share), **values))
        if points[0].value is None:
            return None
        n_lesions = kept.get("n_lesions")
        return Operating(
            tuple(one["cohort"] for one in reference),
            sum(one["n_subjects"] for one in reference),
            tuple(points),
            None if n_lesions is None else int(n_lesions),
            kept.get("slice_auc"),
            kept.get("subject_detection_auc"),
        )

    def _of_evaluation(self, row: Row) -> dict[str, Mapping[str, float | None]]:
        """What is kept of every score of a row's evaluation, which is read once for all of them."""
        found = {}
        for score in self._scores[row["trial_id"]]:
            one = {**row, "score": score}
            reference = self.reference(one)
            work = partial(self._figures, one, reference)
            found[score] = self._evidence.worked_out("operating", [one, *reference], work)
        return found

    def _figures(self, row: Row, reference: Sequence[Row]) -> dict[str, float | None]:
        """What :meth:`_of_row` keeps; nothing where a part cannot be read."""
        healthy = [self._subjects(one) for one in reference]
        test = self._subjects(row)
        slices = self._part(row, "slices.parquet")
        lesions = self._part(row, "lesions.parquet")
        known = [one for one in healthy if one is not None]
        if len(known) < len(healthy) or test is None or slices is None or lesions is None:
            return {}
        lesions = _of_score(lesions, row)
        counts = [counts for one in known for counts in one.counts]
        told: dict[str, float | None] = {}
        for share, value in zip(SHARES, thresholds(counts).tolist(), strict=True):
            point = {
                "value": value,
                "marked": marked_share(counts, value),
                "marked_sd": marked_sd(counts, value),
                **asdict(at_threshold(test, lesions, value)),
            }
            told |= {f"{name}_{_place(share)}": figure for name, figure in point.items()}
        return told | {
            "n_lesions": lesions.num_rows,
            "slice_auc": slice_auc(_of_score(slices, row)),
            "subject_detection_auc": subject_auc(test, known),
        }

    def _alarms(self, row: Row, healthy: Row, reference: Sequence[Row]) -> list[FalseAlarms]:
        kept = self._evidence.worked_out(
            "false alarms", [healthy, *reference], lambda: self._marked(healthy, reference)
        )
        n_reference = sum(one["n_subjects"] for one in reference)
        return [
            FalseAlarms(
                **{name: row[name] for name in ("trial_id", "model", "score", "modality")},
                setting=row["setting"],
                seed=row["seed"],
                cohort=healthy["cohort"],
                n_subjects=healthy["n_subjects"],
                threshold=threshold_name(share),
                reference=tuple(one["cohort"] for one in reference),
                n_reference=n_reference,
                is_uncertain=n_reference < FEW,
                marked=kept.get(f"marked_{_place(share)}"),
                marked_ml=kept.get(f"false_positive_ml_{_place(share)}"),
            )
            for share in SHARES
        ]

    def _marked(self, healthy: Row, reference: Sequence[Row]) -> dict[str, float | None]:
        found = [self._subjects(one) for one in (healthy, *reference)]
        known = [one for one in found if one is not None]
        if len(known) < len(found):
            return {}
        measured, *others = known
        chosen = thresholds([counts for one in others for counts in one.counts]).tolist()
        told: dict[str, float | None] = {}
        for share, value in zip(SHARES, chosen, strict=True):
            told[f"value_{_place(share)}"] = value
            told[f"marked_{_place(share)}"] = marked_share(measured.counts, value)
            told[f"false_positive_ml_{_place(share)}"] = marked_ml(measured, value)
        return told

    def _subjects(self, row: Row) -> Subjects | None:
        table = self._part(row, "subjects.parquet")
        if table is None:
            return None
        table = _of_score(table, row)
        table = table.filter(pc.equal(table["region"], REGION))
        has_all = {"n_scans", "voxel_ml", "top_mean"} <= set(table.column_names)
        if not table.num_rows or not has_all or table["n_scans"].null_count:
            return None  # of the first version of evaluation
        return Subjects.of(table)

    def _part(self, row: Row, name: str) -> pa.Table | None:
        """A part of an evaluation; None where it has none or it cannot be read."""
        place = (row["eval_id"], name)
        if place not in self._parts:
            while len(self._parts) >= 3 * _KEPT:
                self._parts.pop(next(iter(self._parts)))
            self._parts[place] = self._evidence.parts.read(row["trial_id"], *place)
        return self._parts[place]


def _of_score(table: pa.Table, row: Row) -> pa.Table:
    return table.filter(pc.equal(table["score"], row["score"]))


def _place(share: float) -> str:
    return f"{100 * share:.0f}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
