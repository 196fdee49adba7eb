"""The slices of a test cohort and their score maps: stored ones, and those scored on the spot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboard.data import ScanSlices, best_of, finished_at, manifest, scan_slices, showcase
from dashboard.frame import Frame
from dashboard.maps import region_mask, score_range
from dashboard.scoring import score_slice
from datasets.manifest import ScanRecord
from datasets.storage import StorageError
from study.records.showcase import ShowcaseMaps


@dataclass(frozen=True)
class Line:
    """A model's score and the trial that stands for it.

    Attributes:
        model: Name of the model.
        score: Name of the score.
        trial_id: The trial.
        eval_id: Its evaluation on the cohort.
        setting: What people read of its setting, such as ``(8, 64)``.
        auc: ROC-AUC over the cohort.
        best_dice: Highest Dice over the cohort, at one threshold.
        best_threshold: That threshold.
    """

    model: str
    score: str
    trial_id: str
    eval_id: str
    setting: str
    auc: float | None
    best_dice: float | None
    best_threshold: float


@dataclass(frozen=True)
class SliceSource:
    """What can be shown of one test cohort.

    Attributes:
        frame: The study.
        lines: Lines of table 1 by ``model:score``, each with a trial of its best setting.
        stored: The showcase slices of each trial.
        records: The cohort's scans by ``cohort/subject``, if its shards are at hand.
        region: Which pixels count.
        problems: What could not be read.
    """

    frame: Frame
    lines: Mapping[str, Line]
    stored: Mapping[str, tuple[ShowcaseMaps, ...]]
    records: Mapping[str, ScanRecord]
    region: str
    problems: tuple[str, ...] = ()
    _ranges: dict[str, tuple[float, float]] = field(default_factory=dict, compare=False)

    @property
    def has_everything(self) -> bool:
        """Whether the shards are at hand, so that any slice can be scored."""
        return bool(self.records)

    def positions(self, *, everything: bool) -> list[tuple[str, int]]:
        """(subject, slice) of every slice that can be shown, in order."""
        if not everything:
            return sorted({(s.subject, s.slice_index) for s in self._all_stored})
        found = []
        for subject, record in sorted(self.records.items()):
            try:
                scan = scan_slices(self.frame.uri, record)
            except StorageError:
                continue
            found += [(subject, int(i)) for i in scan.slice_index_N]
        return found

    def is_stored(self, subject: str) -> bool:
        """Whether a trial has kept maps of a subject."""
        return any(s.subject == subject for s in self._all_stored)

    def lesion_slice(self, subject: str, *, everything: bool) -> int | None:
        """The slice with a subject's largest lesion, of all or of those stored, or None."""
        if everything and subject in self.records:
            scan = scan_slices(self.frame.uri, self.records[subject])
            area_N = scan.lesion_NHW.sum(axis=(1, 2))
            if area_N.any():
                return int(scan.slice_index_N[area_N.argmax()])
        found = [s for s in self._all_stored if s.subject == subject]
        largest = max(found, key=lambda s: int(s.lesion_HW.sum()), default=None)
        return largest.slice_index if largest is not None else None

    @property
    def best(self) -> str:
        """The line with the highest AUC."""
        return max(self.lines, key=lambda key: self.lines[key].auc or 0.0)

    def maps(self, subject: str, index: int) -> tuple[dict[str, ShowcaseMaps], list[str]]:
        """The maps of every line's trial on one slice, and what stood in the way.

        Stored maps are taken where there are some; the others are scored from saved weights.
        """
        shown: dict[str, ShowcaseMaps] = {}
        problems: list[str] = []
        for trial_id in dict.fromkeys(line.trial_id for line in self.lines.values()):
            stored = [
                s
                for s in self.stored.get(trial_id, ())
                if (s.subject, s.slice_index) == (subject, index)
            ]
            if stored:
                shown[trial_id] = stored[0]
                continue
            if subject not in self.records:
                continue
            try:
                shown[trial_id] = self._score(trial_id, subject, index)
            except (StorageError, ValueError) as error:
                problems.append(f"trial {trial_id}: {error}")
        return shown, problems

    def range_of(self, score: str) -> tuple[float, float]:
        """The colour range of a score: that of its maps on all stored slices of the cohort."""
        if score not in self._ranges:
            self._ranges[score] = score_range(self._pooled(score))
        return self._ranges[score]

    def slider_range(self, line: Line) -> tuple[float, float]:
        """The thresholds worth trying: those that the colours tell apart, and as far again.

        The extreme 0.1 % of the stored maps' values are left out; the best threshold never is.
        """
        pooled = [score[mask] for score, mask in self._pooled(line.score, line.trial_id)]
        values = np.concatenate(pooled) if pooled else np.zeros(1)
        low, high = (float(v) for v in np.percentile(values, (0.1, 99.9)))
        dark, bright = self.range_of(line.score)
        low, high = max(low, 2 * dark - bright), min(high, 2 * bright - dark)
        low, high = min(low, line.best_threshold), max(high, line.best_threshold)
        return (low, high) if high > low else (low, low + 1.0)

    @cached_property
    def image_high(self) -> float:
        """Upper end of the images' grey scale, the same on every slice."""
        pooled = [s.image_HW[s.brain_HW] for s in self._all_stored[:8]]
        return float(np.percentile(np.concatenate(pooled), 99.7)) if pooled else 2.0

    @cached_property
    def _all_stored(self) -> list[ShowcaseMaps]:
        return [s for slices in self.stored.values() for s in slices]

    def _pooled(
        self, score: str, trial_id: str = ""
    ) -> list[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        trials = {line.trial_id for line in self.lines.values() if line.score == score}
        return [
            (s.scores[score], region_mask(s.brain_HW, self.region))
            for name, slices in self.stored.items()
            if name in trials and trial_id in ("", name)
            for s in slices
            if score in s.scores
        ]

    def _score(self, trial_id: str, subject: str, index: int) -> ShowcaseMaps:
        frame = self.frame
        scan: ScanSlices = scan_slices(frame.uri, self.records[subject])
        finished = finished_at(frame.view, trial_id)
        return score_slice(frame.uri, frame.study, trial_id, finished, subject, index, scan)


def open_source(frame: Frame, cohort: str, modality: str, region: str) -> SliceSource:
    """Gather what can be shown of a test cohort; what cannot be read is said, not raised."""
    problems: list[str] = []
    rows = best_of(frame.uri, frame.study, frame.view.version, "auc", frame.view)
    place = {"cohort": cohort, "modality": modality, "region": region}
    rows = [row for row in rows if all(row[name] == value for name, value in place.items())]
    lines: dict[str, Line] = {}
    for row in rows:  # of several seeds the first stands for the setting
        lines.setdefault(f"{row['model']}:{row['score']}", _line(row))
    stored = {}
    for line in {line.trial_id: line for line in lines.values()}.values():
        try:
            found = showcase(frame.uri, frame.study, line.trial_id, line.eval_id)
        except StorageError as error:
            problems.append(f"Score maps of {line.model}: {error}")
            continue
        stored[line.trial_id] = found
    try:
        records = scans_of(frame, cohort, modality)
    except StorageError as error:
        problems.append(str(error))
        records = {}
    return SliceSource(frame, lines, stored, records, region, tuple(problems))


def _line(row: dict[str, Any]) -> Line:
    threshold = row["best_dice_threshold"]
    usable = threshold is not None and np.isfinite(threshold)
    return Line(
        model=row["model"],
        score=row["score"],
        trial_id=row["trial_id"],
        eval_id=row["eval_id"],
        setting=row["setting"] or "",
        auc=row["auc"],
        best_dice=row["best_dice"],
        best_threshold=float(threshold) if usable else 0.0,
    )


def scans_of(frame: Frame, cohort: str, modality: str) -> dict[str, ScanRecord]:
    """The scans of a cohort by what the pages call them; none if its shards are not at hand.

    Raises:
        StorageError: If their manifest is damaged.
    """
    infos = [c for c in frame.record.cohorts if (c.name, c.modality) == (cohort, modality)]
    found = manifest(frame.uri, infos[0].key) if infos else None
    if found is None:
        return {}
    usable = [r for r in found.records if r.status == "ok"]
    scans = Counter(r.subject for r in usable)
    return {_scan_name(r, alone=scans[r.subject] == 1): r for r in usable}


def _scan_name(record: ScanRecord, *, alone: bool) -> str:
    """The subject, as the stored maps name it; with the session where it has several."""
    name = f"{record.cohort}/{record.subject}"
    return name if alone else f"{name} {record.session}"


def scan_text(name: str, record: ScanRecord) -> str:
    """What people read for a scan, such as ``brats/001 · lesion 90.2 ml``."""
    if record.lesion_volume_ml is None:
        return f"{name} · no lesion mask"
    volume = f"lesion {record.lesion_volume_ml:.1f} ml" if record.lesion_volume_ml else "no lesion"
    return f"{name} · {volume}"
