"""The grid of a model, cut from a study's results. Pure functions.

A study of ten thousand trials has hundreds of thousands of result rows, so they stay in Arrow until
few are left; the rules (what counts, what is best, in which order) are those of
``study.report.table`` and ``study.report.choice``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.report.choice import best_setting, mean_of, setting_of
from trainables.description import Setting, Value, value_order

_Row = tuple[Mapping[str, Value], dict[str, Any]]
"""The values of a row's setting, and the row."""

_Seeds = tuple[tuple[Any, ...], list[dict[str, Any]]]
"""A combination of values, and the seeds of the best setting that has it."""

REGION_LABELS = {"brain": "Brain pixels", "slice": "Whole slice"}


@dataclass(frozen=True)
class GridCell:
    """One cell of the grid of a model: the best setting with one pair of values, over its seeds.

    Attributes:
        down: Value of the setting that names the rows, such as N_c.
        across: Value of the setting that names the columns, such as N_z.
        value: Mean figure of its seeds.
        trial_id: The first seed's trial.
        n_trials: How many seeds there are.
        lowest: Figure of the worst seed.
        highest: Figure of the best seed.
    """

    down: Value
    across: Value
    value: float
    trial_id: str
    n_trials: int
    lowest: float
    highest: float


@dataclass(frozen=True)
class GridLine:
    """The best settings of a model over one of its settings, such as the GMM's lambda.

    Attributes:
        parameter: The setting's values, ascending.
        values: Mean figures over the seeds, in that order.
        trial_ids: The first seeds' trials, in that order.
        lowest: Figures of the worst seeds, in that order.
        highest: Figures of the best seeds, in that order.
    """

    parameter: tuple[Value, ...]
    values: tuple[float, ...]
    trial_ids: tuple[str, ...]
    lowest: tuple[float, ...] = ()
    highest: tuple[float, ...] = ()


def grid_cells(
    selection: pa.Table, metric: str, down: Setting, across: Setting
) -> tuple[GridCell, ...]:
    """The grid of one model, score, cohort, modality and region, ordered by rows, then columns.

    Args:
        selection: The result rows of that one cell of table 1.
        metric: One of ``study.report.table.METRICS``.
        down: The setting that names the rows.
        across: The setting that names the columns.
    """
    found = []
    for (row, column), seeds in _best(_rows(selection, metric), metric, down, across):
        figures = [seed[metric] for seed in seeds]
        value, n = mean_of(seeds, metric), len(seeds)
        trial_id = seeds[0]["trial_id"]
        cell = GridCell(row, column, value, trial_id, n, min(figures), max(figures))
        found.append(cell)
    return tuple(found)


def grid_line(selection: pa.Table, metric: str, axis: Setting) -> GridLine:
    """The best settings over one setting, of one cell of table 1."""
    return grid_lines(selection, metric, [axis])[0]


def grid_lines(selection: pa.Table, metric: str, axes: Sequence[Setting]) -> list[GridLine]:
    """The best settings over each of some settings, of one cell of table 1."""
    rows = _rows(selection, metric)
    return [_grid_line(_best(rows, metric, axis), metric) for axis in axes]


def _grid_line(settings: list[_Seeds], metric: str) -> GridLine:
    return GridLine(
        tuple(key[0] for key, _ in settings),
        tuple(mean_of(seeds, metric) for _, seeds in settings),
        tuple(seeds[0]["trial_id"] for _, seeds in settings),
        tuple(min(seed[metric] for seed in seeds) for _, seeds in settings),
        tuple(max(seed[metric] for seed in seeds) for _, seeds in settings),
    )


def single_setting(selection: pa.Table, metric: str) -> list[dict[str, Any]]:
    """The seeds of the best setting of one cell of table 1; none without a figure."""
    settings = _best(_rows(selection, metric), metric)
    return settings[0][1] if settings else []


def _rows(selection: pa.Table, metric: str) -> list[_Row]:
    """The rows that have the figure with their settings, sorted by seed."""
    known = selection.filter(pc.is_valid(selection[metric]))
    rows = known.select([metric, "seed", "trial_id", "spec"]).to_pylist()
    rows.sort(key=lambda row: (row["seed"], row["trial_id"]))
    settings = {spec: setting_of(spec) for spec in {row["spec"] for row in rows}}
    for row in rows:
        row["setting_id"] = settings[row["spec"]].setting_id
    return [(settings[row["spec"]].params, row) for row in rows]


def _best(rows: list[_Row], metric: str, *axes: Setting) -> list[_Seeds]:
    """The seeds of the best setting with each combination of some values, sorted by these."""
    groups: dict[tuple[Value, ...], list[dict[str, Any]]] = defaultdict(list)
    for params, row in rows:
        key = tuple(params.get(axis.name, axis.default) for axis in axes)
        if None not in key:
            groups[key].append(row)
    ordered = sorted(groups, key=lambda key: [value_order(value) for value in key])
    return [(key, best_setting(groups[key], metric)) for key in ordered]


def pairs(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    """The distinct combinations of some columns, sorted."""
    distinct = table.group_by(list(names), use_threads=False).aggregate([])
    columns = [distinct[name].to_pylist() for name in names]
    return sorted(zip(*columns, strict=True), key=lambda row: tuple(str(v) for v in row))
