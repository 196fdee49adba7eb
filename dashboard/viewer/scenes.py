"""What the viewer shows: scans of a test cohort, scored by the trials behind lines of table 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.data import ScanSlices, finished_at, rows_of
from dashboard.frame import Frame
from dashboard.maps import score_range
from dashboard.scoring import score_scan
from dashboard.slices import Line, SliceSource
from dashboard.viewer.payload import Scene, ScoreVolume, Side
from dashboard.volumes import Coded, coded, grid_of, missing_planes, placed, start_of
from datasets.identity import digest
from datasets.manifest import ScanRecord
from datasets.storage import StorageError


@dataclass(frozen=True)
class Choice:
    """What a side is to show.

    Attributes:
        line: A line of table 1, whose trial scores the scan.
        second: Another score of the same trial, or None.
    """

    line: Line
    second: str | None = None

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of its scores."""
        return (self.line.score,) if self.second is None else (self.line.score, self.second)


def line_names(source: SliceSource) -> dict[str, str]:
    """What people read for each line; where two would read the same, its key stands beside it."""
    names = {key: _line_name(source.frame, line) for key, line in source.lines.items()}
    times = Counter(names.values())
    return {key: name if times[name] == 1 else f"{name} {key}" for key, name in names.items()}


def _line_name(frame: Frame, line: Line) -> str:
    return f"{frame.names.line(line.model, line.score)} {line.setting}".strip()


def scores_of(source: SliceSource, model: str) -> tuple[str, ...]:
    """The scores that table 1 has of a model on the cohort, in its order."""
    return tuple(line.score for line in source.lines.values() if line.model == model)


def scene_of(
    source: SliceSource, record: ScanRecord, scan: ScanSlices, choices: Sequence[Choice]
) -> tuple[Scene, list[str]]:
    """A scan with the scores of one or two trials, and what stood in the way of some.

    Args:
        source: The cohort.
        record: The scan's record.
        scan: Its slices.
        choices: What each side is to show.
    """
    grid = grid_of(scan.slice_index_N, scan.geometry)
    brain = placed(scan.brain_NHW, scan.slice_index_N, grid)
    lesion = placed(scan.lesion_NHW, scan.slice_index_N, grid)
    inside = placed(scan.images_NHW, scan.slice_index_N, grid)[brain]
    problems: list[str] = []
    sides = []
    for choice in choices:
        try:
            found = _scored(source, choice.line, record, scan)
        except (StorageError, ValueError) as error:
            problems.append(f"trial {choice.line.trial_id}: {error}")
            found = {}
        scores = [_score(source, choice.line, s, found[s]) for s in choice.scores if s in found]
        sides.append(Side(_line_name(source.frame, choice.line), scores))
    low, high = (0.0, float(np.percentile(inside, 99.7))) if len(inside) else (0.0, 1.0)
    scene = Scene(
        key=record.key[:8],
        name=f"{record.cohort}/{record.subject}",
        grid=grid,
        brain_ZYX=brain,
        lesion_ZYX=lesion,
        missing=missing_planes(scan.slice_index_N, grid),
        image=coded(inside),
        window=(low, high if high > low else low + 1.0),
        start=start_of(lesion, brain, grid),
        sides=sides,
    )
    return scene, problems


def _scored(
    source: SliceSource, line: Line, record: ScanRecord, scan: ScanSlices
) -> Mapping[str, Coded]:
    """All scores that table 1 has of the line's model, by its trial."""
    frame = source.frame
    return score_scan(
        frame.uri,
        frame.study,
        line.trial_id,
        finished_at(frame.view, line.trial_id),
        record.part,
        scores_of(source, line.model),
        scan,
    )


def _score(source: SliceSource, line: Line, score: str, found: Coded) -> ScoreVolume:
    low, high = _colour_range(source, score, found)
    threshold = _best_threshold(source.frame, line, score)
    ends = [low, max(high, min(found.scale.values[-1], 2 * high - low))]
    if threshold is not None:
        ends = [min(ends[0], threshold), max(ends[1], threshold)]
    return ScoreVolume(
        key=digest({"trial": line.trial_id, "score": score})[:8],
        name=source.frame.names.score(line.model, score),
        coded=found,
        low=low,
        high=high,
        threshold=threshold,
        ends=(ends[0], ends[1]),
    )


def _colour_range(source: SliceSource, score: str, found: Coded) -> tuple[float, float]:
    """That of the score on the cohort's stored maps, as on other pages; else of this scan."""
    trials = {line.trial_id for line in source.lines.values() if line.score == score}
    if any(score in s.scores for trial_id in trials for s in source.stored.get(trial_id, ())):
        return source.range_of(score)
    values = found.values()
    return score_range([(values, np.ones_like(values, bool))])


def _best_threshold(frame: Frame, line: Line, score: str) -> float | None:
    """The threshold of the trial's highest Dice on the cohort; None where there is none."""
    place = {"trial_id": line.trial_id, "eval_id": line.eval_id, "score": score}
    rows = rows_of(frame.view.results, region="brain", **place)
    value = rows["best_dice_threshold"][0].as_py() if rows.num_rows else None
    return float(value) if value is not None and np.isfinite(value) else None
