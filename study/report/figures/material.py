"""What the figures are made of: the best trials' curves and maps, and which subjects to show.

Shape legend: H = W = 128 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datasets.manifest import CohortManifest, read_manifest
from datasets.shards import read_slices
from datasets.storage import Storage
from datasets.tables import read_table
from study.records.showcase import ShowcaseMaps, decode_showcase
from study.records.studies import StudyStore
from study.report.operating import Operating
from study.report.report import Report
from study.report.table_one import Cell, TableOne

REGION = "brain"
"""The pixels that the figures are about, the paper's."""

Line = tuple[str, str]
"""Model and score."""

Column = tuple[str, str]
"""Cohort and modality."""


@dataclass(frozen=True)
class Curve:
    """A ROC curve of one trial.

    Attributes:
        fpr: False positive rates, ascending from 0 to 1.
        tpr: True positive rates.
    """

    fpr: np.ndarray[Any, np.dtype[np.float64]]
    tpr: np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class ShownSubject:
    """A subject of a figure.

    Attributes:
        subject: ``cohort/subject``.
        roles: Why it is shown: ``median``, ``best``, ``worst``, or nothing of one that was asked
            for.
        volume_ml: Volume of its lesions, if the shards tell it.
        auc: Its own AUC in the row that tells the best from the worst.
    """

    subject: str
    roles: tuple[str, ...]
    volume_ml: float | None = None
    auc: float | None = None


@dataclass
class Material:
    """Reads what a report's figures need, each part once.

    Not thread-safe.

    Attributes:
        store: The store that the study lies in.
        study: The study.
        report: Its report.
    """

    store: Storage
    study: StudyStore
    report: Report
    _parts: dict[tuple[str, str], pa.Table] = field(default_factory=dict)
    _manifests: dict[Column, CohortManifest | None] = field(default_factory=dict)
    _shown: dict[tuple[str, str], tuple[ShowcaseMaps, ...]] = field(default_factory=dict)
    _pixels_mm: dict[tuple[Column, str, int], float | None] = field(default_factory=dict)

    @cached_property
    def table(self) -> TableOne:
        """Table 1 over brain pixels."""
        return self.report.table(REGION)

    @cached_property
    def _rows(self) -> dict[tuple[Line, Column], list[dict[str, Any]]]:
        rows: dict[tuple[Line, Column], list[dict[str, Any]]] = {}
        for row in self.report.best:
            if row["region"] == REGION:
                place = (row["model"], row["score"]), (row["cohort"], row["modality"])
                rows.setdefault(place, []).append(row)
        return rows

    def lines(self, column: Column) -> list[Line]:
        """The rows of table 1 that have a figure in a column."""
        return [line for line in self.table.lines if (line, column) in self._rows]

    def cell(self, line: Line, column: Column) -> Cell:
        """A cell of table 1."""
        return self.table.cells[line, column]

    def best_line(self, column: Column) -> Line | None:
        """The row with the highest figure of a column, or None if there is no figure."""
        return next((line for line in self.lines(column) if self.cell(line, column).best), None)

    def seeds(self, line: Line, column: Column) -> list[dict[str, Any]]:
        """The result rows of a cell's best setting, a row a seed."""
        return self._rows.get((line, column), [])

    def operating(self, line: Line, column: Column) -> Operating | None:
        """What the first seed of a cell's best setting is at thresholds of healthy subjects."""
        rows = self.seeds(line, column)[:1]
        points = self.report.operating
        return points.of_cell(rows) if points is not None and rows else None

    def part(self, row: dict[str, Any], name: str) -> pa.Table:
        """A table of the evaluation that a result row is from.

        Raises:
            StorageError: If it is damaged or cannot be read.
        """
        key = (row["eval_id"], name)
        if key not in self._parts:
            trial = self.study.trial(row["trial_id"])
            record = trial.evaluation(row["eval_id"])
            assert record is not None  # the index has just read it
            self._parts[key] = read_table(trial.read_part(record, name))
        return self._parts[key]

    def curve(self, row: dict[str, Any]) -> Curve:
        """The ROC curve of a result row."""
        roc = _of(self.part(row, "roc.parquet"), row).sort_by([("threshold", "descending")])
        n_negative = row["n_pixels"] - row["n_positive"]
        fpr = roc["false_positives"].to_numpy() / n_negative
        tpr = roc["true_positives"].to_numpy() / row["n_positive"]
        return Curve(np.append(fpr, 1.0), np.append(tpr, 1.0))

    def subjects(self, row: dict[str, Any]) -> pa.Table:
        """The subjects' own figures and counts of a result row."""
        return _of(self.part(row, "subjects.parquet"), row)

    def showcase(self, row: dict[str, Any]) -> tuple[ShowcaseMaps, ...]:
        """The slices that are kept of a result row's evaluation."""
        key = (row["eval_id"], "heatmaps.parquet")
        if key not in self._shown:
            self._shown[key] = decode_showcase(self.part(row, key[1]))
        return self._shown[key]

    def manifest(self, column: Column) -> CohortManifest | None:
        """The manifest of a test set's shards; None if they are not in the store."""
        if column not in self._manifests:
            cohorts = self.report.record.cohorts
            keys = [c.key for c in cohorts if (c.name, c.modality) == column]
            self._manifests[column] = read_manifest(self.store, keys[0]) if keys else None
        return self._manifests[column]

    def volumes_ml(self, column: Column) -> dict[str, float]:
        """The lesion volumes of a test set by ``cohort/subject``, over all its scans."""
        manifest = self.manifest(column)
        volumes: dict[str, float] = {}
        for scan in manifest.records if manifest else ():
            if scan.status == "ok" and scan.lesion_volume_ml is not None:
                name = f"{column[0]}/{scan.subject}"
                volumes[name] = volumes.get(name, 0.0) + scan.lesion_volume_ml
        return volumes

    def pixel_mm(self, column: Column, shown: ShowcaseMaps) -> float | None:
        """Side of a pixel of a slice that is kept; None if its shards are not in the store."""
        key = (column, shown.subject, shown.slice_index)
        if key not in self._pixels_mm:
            self._pixels_mm[key] = self._read_pixel_mm(column, shown)
        return self._pixels_mm[key]

    def _read_pixel_mm(self, column: Column, shown: ShowcaseMaps) -> float | None:
        manifest = self.manifest(column)
        for scan in manifest.records if manifest else ():
            if scan.status != "ok" or f"{column[0]}/{scan.subject}" != shown.subject:
                continue
            if not self.store.exists(scan.part):
                return None
            slices = read_slices(self.store, scan)
            # A subject may have several scans with a slice of that index.
            for row in np.flatnonzero(slices.slice_index_N == shown.slice_index):
                if np.array_equal(slices.images_NHW[row].astype(np.float32), shown.image_HW):
                    return slices.geometry.pixel_mm
        return None

    def chosen_subjects(
        self, column: Column, line: Line, asked: Sequence[str] = ()
    ) -> tuple[ShownSubject, ...]:
        """The median, the best and the worst of the subjects whose maps are kept.

        Args:
            column: The test set.
            line: The row of table 1 whose subjects' AUCs tell the best from the worst.
            asked: Subjects to show instead, ``cohort/subject``; those whose maps are not kept are
                left out.
        """
        row = self.seeds(line, column)[0]
        kept = list(dict.fromkeys(shown.subject for shown in self.showcase(row)))
        figures = self.subjects(row).select(["subject", "n_positive", "auc"]).to_pylist()
        aucs = {f["subject"]: f["auc"] for f in figures}
        volumes = self.volumes_ml(column)
        sizes: dict[str, float] = {f["subject"]: f["n_positive"] for f in figures}
        roles: dict[str, list[str]] = {name: [] for name in asked if name in kept}
        if not asked:
            roles = _roles(kept, volumes if set(kept) <= set(volumes) else sizes, aucs)
        return tuple(
            ShownSubject(name, tuple(why), volumes.get(name), aucs.get(name))
            for name, why in roles.items()
        )


def _roles(
    kept: Sequence[str], sizes: dict[str, float], aucs: dict[str, float | None]
) -> dict[str, list[str]]:
    """Which subjects are shown and why; one may be there for two reasons."""
    roles: dict[str, list[str]] = {}
    if not kept:
        return roles
    by_size = sorted(kept, key=lambda name: (sizes.get(name, 0.0), name))
    roles[by_size[(len(by_size) - 1) // 2]] = ["median"]
    rated = [(auc, name) for name in kept if (auc := aucs.get(name)) is not None]
    if len(rated) > 1:
        for role, (_, name) in (("best", max(rated)), ("worst", min(rated))):
            roles.setdefault(name, []).append(role)
    return roles


def _of(table: pa.Table, row: dict[str, Any]) -> pa.Table:
    """The rows of a part that belong to a result row's score and region."""
    return table.filter(
        pc.and_(pc.equal(table["score"], row["score"]), pc.equal(table["region"], row["region"]))
    )
