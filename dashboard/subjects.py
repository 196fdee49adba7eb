"""The subjects of a test cohort by one line of table 1: their figures and their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboard.data import best_of, evaluation_table, rows_of
from dashboard.frame import Frame
from dashboard.leaderboard import unique_names
from dashboard.slices import scans_of
from dashboard.thumbnails import image_picture, map_pictures
from datasets.manifest import ScanRecord
from datasets.storage import StorageError
from study.report.choice import mean_of
from study.report.subjects import Seed, SubjectFigures, subject_figures, volumes_of


@dataclass(frozen=True)
class SubjectLine:
    """A line of table 1 on a test cohort, at its best setting.

    Attributes:
        name: What people read for it; each line of a cohort has its own.
        model: Name of the model.
        score: Name of the score.
        auc: Mean over the seeds of the AUC over all pixels.
        setting: What people read of its setting, such as ``(8, 64)``.
        seeds: Its result rows, a seed each.
    """

    name: str
    model: str
    score: str
    auc: float
    setting: str
    seeds: tuple[dict[str, Any], ...]


def lines_of(frame: Frame, cohort: str, modality: str, region: str) -> dict[str, SubjectLine]:
    """The lines of table 1 that have a ROC-AUC on a cohort, by ``model:score``."""
    place = {"cohort": cohort, "modality": modality, "region": region}
    rows = best_of(frame.uri, frame.study, frame.view.version, "auc", frame.view)
    seeds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if all(row[name] == value for name, value in place.items()):
            seeds.setdefault((row["model"], row["score"]), []).append(row)
    keys = {line: ":".join(line) for line in seeds}
    names = unique_names((key, frame.names.line(*line)) for line, key in keys.items())
    return {
        keys[line]: SubjectLine(
            names[keys[line]], *line, mean_of(some, "auc"), some[0]["setting"] or "", tuple(some)
        )
        for line, some in seeds.items()
    }


def best_line(lines: Mapping[str, SubjectLine]) -> str:
    """The line with the highest ROC-AUC; of equal ones the first."""
    return max(lines, key=lambda key: lines[key].auc)


def figures_of(
    frame: Frame, line: SubjectLine, volumes_ml: Mapping[str, float]
) -> tuple[SubjectFigures, ...]:
    """The subjects of a line's cohort, worst first.

    Args:
        frame: The study.
        line: The line.
        volumes_ml: Lesion volumes, see :class:`CohortScans`.

    Raises:
        StorageError: If what is stored of them is missing or damaged.
    """
    return subject_figures([_seed(frame, row) for row in line.seeds], volumes_ml)


def _seed(frame: Frame, row: dict[str, Any]) -> Seed:
    where = (frame.uri, frame.study, row["trial_id"], row["eval_id"])
    table = evaluation_table(*where, "subjects.parquet")
    rows = rows_of(table, score=row["score"], region=row["region"])
    return Seed(rows, row["best_dice_threshold"])


@dataclass(frozen=True)
class CohortScans:
    """What the shards tell of a test cohort.

    Attributes:
        scans: Of each subject, by ``cohort/subject``, the scan with the largest lesion.
        names: What the pages call that scan.
        volumes_ml: Lesion volumes by ``cohort/subject``.
    """

    scans: Mapping[str, ScanRecord] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    volumes_ml: Mapping[str, float] = field(default_factory=dict)


def cohort_scans(frame: Frame, cohort: str, modality: str) -> CohortScans:
    """The scans of a test cohort; none if its shards are not in the store.

    Raises:
        StorageError: If their manifest is damaged.
    """
    scans: dict[str, ScanRecord] = {}
    names: dict[str, str] = {}
    known = scans_of(frame, cohort, modality)
    for name, scan in sorted(known.items(), key=lambda item: item[1].lesion_volume_ml or 0.0):
        subject = f"{scan.cohort}/{scan.subject}"
        scans[subject], names[subject] = scan, name
    return CohortScans(scans, names, volumes_of(known.values()))


def pictures_of(
    frame: Frame, line: SubjectLine, scans: Mapping[str, ScanRecord], subjects: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """A picture of each subject, and what stood in the way.

    The stored map of a subject is taken where there is one, else its image.

    Args:
        frame: The study.
        line: Whose maps; of several seeds the first.
        scans: By ``cohort/subject``.
        subjects: Whom to picture.
    """
    row, problems = line.seeds[0], []
    where = (frame.uri, frame.study, row["trial_id"], row["eval_id"])
    try:
        maps = map_pictures(*where, line.score, row["region"])
    except StorageError as error:
        problems.append(f"Score maps: {error}")
        maps = {}
    pictures = {}
    for subject in subjects:
        if subject in maps:
            pictures[subject] = maps[subject]
        elif subject in scans:
            try:
                pictures[subject] = image_picture(frame.uri, scans[subject])
            except StorageError as error:
                problems.append(str(error))
    return pictures, problems
