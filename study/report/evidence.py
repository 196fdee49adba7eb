"""What the subjects of a test set say about the rows of a report: intervals, choice, differences.

Everything is worked out from the counts by subject that evaluations store, a few evaluations in
memory at a time. Results are kept in ``statistics.parquet`` beside the study's records, each under
a digest of the records that it was made of; like the index that file is a cache, and deleting it
loses nothing but time.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from datasets.identity import digest
from datasets.storage import StorageError
from study.records.statistics import (
    CHOICE_FIELDS,
    DIFFERENCE_FIELDS,
    ROW_FIELDS,
    STATISTICS_VERSION,
    read_statistics,
    write_statistics,
)
from study.records.studies import StudyStore
from study.report.comparisons import CLAIM, Comparison, by_holm, compare, in_sequence
from study.report.counts import Counted, read_counts
from study.report.parts import Parts
from study.report.selection import Honest, Pairs, honest, mean_pairs, pairs_of
from study.report.statistics import (
    Binned,
    Interval,
    interval,
    is_approximate,
    left_out,
    mean_interval,
    n_effective,
    n_with_lesion,
    pooled,
)

METRICS = ("auc", "average_precision", "best_dice")

_KEPT = 4
"""Evaluations whose counts stay in memory: rows are asked for evaluation by evaluation."""

_PAIRS_BYTES = 2e8
"""Memory for the pairs of subjects of the cells that a choice was made from."""

Row = Mapping[str, Any]

_BETWEEN: Row = dict.fromkeys(("trial_id", "eval_id", "score", "region"), "")
"""Stands between the seeds of two rows in the digest of their difference."""


@dataclass(frozen=True)
class RowStatistics:
    """What is known of a row of results beside its figures; None where it cannot be told.

    Attributes:
        auc_low: Lower end of the interval of 95 % of the AUC ...
        auc_high: ... and its upper end; likewise of the others.
        average_precision_low: Of average precision.
        average_precision_high: Of average precision.
        best_dice_low: Of best Dice.
        best_dice_high: Of best Dice.
        subject_auc_low: Of the mean of the subjects' own AUCs.
        subject_auc_high: Of that mean.
        n_with_lesion: How many subjects have lesion pixels.
        n_effective: How many subjects with equal lesions would have as much to say.
        df: Degrees of freedom of the AUC's interval.
        is_approximate: Whether the intervals of average precision and best Dice may cover less.
    """

    auc_low: float | None = None
    auc_high: float | None = None
    average_precision_low: float | None = None
    average_precision_high: float | None = None
    best_dice_low: float | None = None
    best_dice_high: float | None = None
    subject_auc_low: float | None = None
    subject_auc_high: float | None = None
    n_with_lesion: int | None = None
    n_effective: float | None = None
    df: float | None = None
    is_approximate: bool | None = None


@dataclass(frozen=True)
class Part:
    """The AUC over some of a test set's subjects.

    Attributes:
        n_subjects: How many subjects these are.
        n_with_lesion: How many of them have lesion pixels.
        auc: None where it is undefined.
        low: Lower end of its interval of 95 %; None where it cannot be told.
        high: Upper end.
    """

    n_subjects: int
    n_with_lesion: int
    auc: float | None
    low: float | None
    high: float | None


class Evidence:
    """The statistics of a study's rows, worked out as they are asked for; of one thread.

    Args:
        study: The study's store.
        index: Its index, whose marks of trials tell when a record has changed.
        kept_only: Whether nothing is worked out, and only what was kept is told.
    """

    def __init__(self, study: StudyStore, index: pa.Table, *, kept_only: bool = False) -> None:
        self._kept_only = kept_only
        self._study = study
        self.parts = Parts(study)
        ids, marks = (index[name].to_pylist() for name in ("trial_id", "signature"))
        self._marks = dict(zip(ids, marks, strict=True))
        self._cache = read_statistics(study)
        self._is_new = False
        self._loaded: dict[tuple[str, str], dict[tuple[str, str], Counted]] = {}
        self._pairs: dict[tuple[str, str, str, str], tuple[tuple[str, ...], Pairs]] = {}

    def of_row(self, row: Row) -> RowStatistics:
        """What is known of a row of results."""
        return self.of_cell([row])

    def of_cell(self, seeds: Sequence[Row]) -> RowStatistics:
        """The same of the mean over the seeds of a setting, on the same subjects."""
        key = self._key("row", seeds)
        if key not in self._cache and not self._kept_only:
            if len(seeds) == 1:
                self._keep_rows(seeds[0])
            if key not in self._cache:
                self._keep(key, asdict(self._row_statistics(seeds)))
        kept = self._cache.get(key, {})
        whole: dict[str, Any] = {k: kept.get(k) for k in ROW_FIELDS}
        if whole["n_with_lesion"] is not None:
            whole["n_with_lesion"] = int(whole["n_with_lesion"])
            whole["is_approximate"] = bool(whole["is_approximate"])
        return RowStatistics(**whole)

    def of_choice(self, settings: Sequence[Sequence[Row]]) -> Honest | None:
        """What the best of some settings is worth, each told by the rows of its seeds."""
        key = self._key("choice", [row for seeds in settings for row in seeds])
        if key not in self._cache and not self._kept_only:
            found = self._choice(settings)
            self._keep(key, {} if found is None else {n: getattr(found, n) for n in CHOICE_FIELDS})
        values = {name: self._cache.get(key, {}).get(name) for name in CHOICE_FIELDS}
        known = {name: value for name, value in values.items() if value is not None}
        return Honest(**known) if len(known) == len(values) else None

    def is_separated(self, first: Sequence[Row], others: Sequence[Sequence[Row]]) -> bool | None:
        """Whether a row is told from some others on the same subjects, with Holm's correction.

        Args:
            first: The rows of the seeds of a setting.
            others: Those of others.

        Returns:
            None if that cannot be told: the subjects differ, or a figure has no spread.
        """
        key = self._key("separated", [row for seeds in (first, *others) for row in seeds])
        if key not in self._cache and not self._kept_only:
            rows = {str(number): seeds for number, seeds in enumerate((first, *others))}
            counts = self._comparable(rows)
            compared = [name for name in counts if name != "0"] if "0" in counts else []
            pairs = [compare(name, "0", counts) for name in compared]
            known = by_holm([one for one in pairs if one is not None])
            told = all(one.is_separated for one in known)
            self._keep(key, {"is_separated": told if len(known) == len(others) else None})
        value = self._cache.get(key, {}).get("is_separated")
        return None if value is None else bool(value)

    def difference(
        self, lower: tuple[str, Sequence[Row]], higher: tuple[str, Sequence[Row]]
    ) -> Comparison | None:
        """The difference of two rows, the mean over the seeds of each, on the same subjects.

        Args:
            lower: What is taken away: what it is called, and the rows of its seeds.
            higher: What that is taken from.
        """
        key = self._key("difference", [*lower[1], _BETWEEN, *higher[1]])
        if key not in self._cache and not self._kept_only:
            counts = self._comparable(dict((lower, higher)))
            found = compare(lower[0], higher[0], counts) if len(counts) == 2 else None
            values = () if found is None else (found.difference, found.low, found.high, found.p)
            self._keep(key, dict(zip(DIFFERENCE_FIELDS, values, strict=False)))
        kept = self._cache.get(key, {})
        known = [value for name in DIFFERENCE_FIELDS if (value := kept.get(name)) is not None]
        if len(known) < len(DIFFERENCE_FIELDS):
            return None
        difference, low, high, p = known
        return Comparison(lower[0], higher[0], difference, low, high, p)

    def claim(self, rows: Mapping[str, Sequence[Row]]) -> list[Comparison | None]:
        """The paper's order of the VAE's scores, tested in sequence.

        Args:
            rows: By the scores' symbols, see :data:`study.report.comparisons.CLAIM`.
        """
        counts = {} if self._kept_only else self._comparable(rows)
        return in_sequence(
            [
                compare(*two, counts) if set(two) <= counts.keys() else None
                for two in pairwise(CLAIM)
            ]
        )

    def worked_out(
        self, kind: str, rows: Iterable[Row], work: Callable[[], Mapping[str, float | None]]
    ) -> Mapping[str, float | None]:
        """What was kept of some rows or, unless only that is told, is worked out and kept now.

        Args:
            kind: What is kept of them.
            rows: The rows that it is made of.
            work: Gives it; its names are fields of ``statistics.parquet``.
        """
        key = self._key(kind, rows)
        if key not in self._cache and not self._kept_only:
            self._keep(key, work())
        return self._cache.get(key, {})

    def counts_of(self, seeds: Sequence[Row]) -> tuple[tuple[str, ...], list[Binned]] | None:
        """The counts of the seeds of a setting and the subjects they are of.

        Returns:
            None where they cannot be read, or are not of the same subjects.
        """
        found = self._same_subjects(seeds)
        return (found[0].subjects, [one.counts for one in found]) if found else None

    def of_subjects(self, seeds: Sequence[Row], subjects: Container[str]) -> Part | None:
        """The AUC of a setting, the mean over its seeds, over some of its subjects.

        Returns:
            None where its counts cannot be read, or are not of the same subjects.
        """
        found = self._same_subjects(seeds)
        if not found:
            return None
        numbers = [i for i, name in enumerate(found[0].subjects) if name in subjects]
        some = [one.counts.take(numbers) for one in found]
        counts = some[0]
        auc = float(np.mean([pooled(one).auc for one in some]))
        others = np.mean([left_out(one).auc for one in some], axis=0)
        ends = interval(auc, others, counts) if numbers else None
        return Part(
            n_subjects=len(numbers),
            n_with_lesion=n_with_lesion(counts),
            auc=auc if np.isfinite(auc) else None,
            low=None if ends is None else ends.low,
            high=None if ends is None else ends.high,
        )

    def save(self) -> None:
        """Keep what is new beside the study's records, if they may be written.

        Nothing is kept where a part could not be read: it may be mended.
        """
        if self._is_new and not self.parts.n_unread:
            with suppress(StorageError):
                write_statistics(self._study, self._cache)
                self._is_new = False

    def _keep_rows(self, row: Row) -> None:
        """Work out all rows of an evaluation, which is read once for them."""
        place = {"trial_id": row["trial_id"], "eval_id": row["eval_id"]}
        for score, region in self._load(**place):
            one = {**place, "score": score, "region": region}
            self._keep(self._key("row", [one]), asdict(self._row_statistics([one])))

    def _keep(self, key: str, values: Mapping[str, Any]) -> None:
        self._cache[key] = {
            name: None if value is None else float(value) for name, value in values.items()
        }
        self._is_new = True

    def _key(self, kind: str, rows: Iterable[Row]) -> str:
        parts = [
            [
                self._marks.get(r["trial_id"], ""),
                r["trial_id"],
                r["eval_id"],
                r["score"],
                r["region"],
            ]
            for r in rows
        ]
        return digest({"kind": kind, "version": STATISTICS_VERSION, "rows": parts})

    def _row_statistics(self, seeds: Sequence[Row]) -> RowStatistics:
        counted = self._same_subjects(seeds)
        if not counted:
            return RowStatistics()
        first = counted[0].counts
        n_eff = n_effective(first)
        wholes = [pooled(one.counts).named() for one in counted]
        others = [left_out(one.counts).named() for one in counted]
        ends: dict[str, Interval | None] = {}
        for name in METRICS:
            estimate = float(np.mean([whole[name] for whole in wholes]))
            ends[name] = interval(estimate, np.mean([o[name] for o in others], axis=0), first)
        ends["subject_auc"] = mean_interval(
            np.mean([one.aucs for one in counted], axis=0).tolist()
            if len({len(one.aucs) for one in counted}) == 1
            else counted[0].aucs
        )
        auc = ends["auc"]
        told = {
            f"{name}_{end}": None if found is None else getattr(found, end)
            for name, found in ends.items()
            for end in ("low", "high")
        }
        return RowStatistics(
            **told,
            n_with_lesion=n_with_lesion(first),
            n_effective=n_eff,
            df=None if auc is None else auc.df,
            is_approximate=is_approximate("best_dice", n_with_lesion(first), n_eff),
        )

    def _choice(self, settings: Sequence[Sequence[Row]]) -> Honest | None:
        cells: list[Pairs] = []
        names: tuple[str, ...] | None = None
        for seeds in settings:
            found = [self._pairs_of(row) for row in seeds]
            known = [one for one in found if one is not None]
            if not known or len(known) != len(found):
                return None
            subjects = {one[0] for one in known} | ({names} if names else set())
            if len(subjects) > 1:
                return None
            names = known[0][0]
            cells.append(mean_pairs([pairs for _, pairs in known]))
        return honest(cells) if cells else None

    def _pairs_of(self, row: Row) -> tuple[tuple[str, ...], Pairs] | None:
        """The pairs of a row, with the subjects they are of."""
        key = (row["trial_id"], row["eval_id"], row["score"], row["region"])
        if key not in self._pairs:
            # Choices are asked for score by score, and an evaluation is read once for all.
            for (score, region), one in self._load(row["trial_id"], row["eval_id"]).items():
                place = (row["trial_id"], row["eval_id"], score, region)
                self._pairs[place] = (one.subjects, pairs_of(one.counts))
                most = max(64, int(_PAIRS_BYTES / (4 * len(one.subjects) ** 2 + 1)))
                while len(self._pairs) > most:
                    self._pairs.pop(next(iter(self._pairs)))
        return self._pairs.get(key)

    def _comparable(self, rows: Mapping[str, Sequence[Row]]) -> dict[str, list[Binned]]:
        """The counts of the seeds of those rows that are of the same subjects as the first one."""
        found: dict[str, list[Binned]] = {}
        names: tuple[str, ...] | None = None
        for name, seeds in rows.items():
            counted = self._same_subjects(seeds)
            if counted and names in (None, counted[0].subjects):
                names = counted[0].subjects
                found[name] = [one.counts for one in counted]
        return found

    def _same_subjects(self, rows: Sequence[Row]) -> list[Counted]:
        """The counts of some rows; none if one is missing, or their subjects differ."""
        counted = [self._counted(row) for row in rows]
        known = [one for one in counted if one is not None]
        same = len({one.subjects for one in known}) == 1
        return known if same and len(known) == len(rows) else []

    def _counted(self, row: Row) -> Counted | None:
        loaded = self._load(row["trial_id"], row["eval_id"])
        return loaded.get((row["score"], row["region"]))

    def _load(self, trial_id: str, eval_id: str) -> dict[tuple[str, str], Counted]:
        """The counts of an evaluation by score and region; none where they cannot be read."""
        place = (trial_id, eval_id)
        if place not in self._loaded:
            while len(self._loaded) >= _KEPT:
                self._loaded.pop(next(iter(self._loaded)))
            self._loaded[place] = read_counts(self.parts, trial_id, eval_id)
        return self._loaded[place]
