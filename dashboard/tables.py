"""The grid and the names of table 1's lines, cut from a study's results. Pure functions.

A study of ten thousand trials has hundreds of thousands of result rows, so they stay in Arrow until
few are left; the rules (what counts, what is best, in which order) are those of
``study.report.table`` and ``study.report.choice``.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.report.choice import best_setting, mean_of, with_settings
from study.report.table import label

REGION_LABELS = {"brain": "Brain pixels", "slice": "Whole slice"}


def line_label(model: str, score: str) -> str:
    """What people read for a line of table 1."""
    return label(model) if model == score else f"{label(model)} · {label(score)}"


def short_label(model: str, score: str) -> str:
    """The same for legends, with the paper's symbols: ``VAE E``."""
    name = _SHORT_MODELS.get(model, label(model))
    return (
        f"{name} {_SYMBOLS[score]}"
        if score in _SYMBOLS
        else name
        if model == score
        else (f"{name} {label(score)}")
    )


_SHORT_MODELS = {"gmm": "GMM"}
_SYMBOLS = {
    "squared_error": "SE",
    "nll": "L",
    "log_variance": "U",
    "normalized_error": "E",
    "outlier_posterior": "posterior",
    "outlier_sum": "sum",
    "negative_intensity": "negated",
}


@dataclass(frozen=True)
class GridCell:
    """One cell of the grid of a model: the best setting with one (N_c, N_z), over its seeds.

    Attributes:
        n_c: Channels of the first layer.
        n_z: Size of the latent vector.
        value: Mean figure of its seeds.
        trial_id: The first seed's trial.
        n_trials: How many seeds there are.
        lowest: Figure of the worst seed.
        highest: Figure of the best seed.
    """

    n_c: int
    n_z: int
    value: float
    trial_id: str
    n_trials: int
    lowest: float
    highest: float


@dataclass(frozen=True)
class GridLine:
    """The settings of a model with one searched parameter, such as the GMM's lambda.

    Attributes:
        parameter: The parameter's values, ascending.
        values: Mean figures over the seeds, in that order.
        trial_ids: The first seeds' trials, in that order.
    """

    parameter: tuple[float, ...]
    values: tuple[float, ...]
    trial_ids: tuple[str, ...]


def grid_cells(selection: pa.Table, metric: str) -> tuple[GridCell, ...]:
    """The grid of one model, score, cohort, modality and region, ordered by N_c, N_z.

    Args:
        selection: The result rows of that one cell of table 1.
        metric: One of ``study.report.table.METRICS``.
    """
    found = []
    for (n_c, n_z), seeds in _settings(selection, metric, "n_c", "n_z"):
        figures = [row[metric] for row in seeds]
        value, n = mean_of(seeds, metric), len(seeds)
        cell = GridCell(n_c, n_z, value, seeds[0]["trial_id"], n, min(figures), max(figures))
        found.append(cell)
    return tuple(found)


def grid_line(selection: pa.Table, metric: str) -> GridLine:
    """The settings over lambda of one cell of table 1."""
    settings = _settings(selection, metric, "gmm_lambda")
    return GridLine(
        tuple(key[0] for key, _ in settings),
        tuple(mean_of(seeds, metric) for _, seeds in settings),
        tuple(seeds[0]["trial_id"] for _, seeds in settings),
    )


def single_setting(selection: pa.Table, metric: str) -> list[dict[str, Any]]:
    """The seeds of the best setting of one cell of table 1; none without a figure."""
    settings = _settings(selection, metric)
    return settings[0][1] if settings else []


def _settings(
    selection: pa.Table, metric: str, *names: str
) -> list[tuple[tuple[Any, ...], list[dict[str, Any]]]]:
    """The seeds of the best setting with each combination of some parameters, sorted by these."""
    keep = pc.is_valid(selection[metric])
    for name in names:
        keep = pc.and_(keep, pc.is_valid(selection[name]))
    table = with_settings(selection.filter(keep))
    columns = [*names, metric, "seed", "trial_id", "setting_id"]
    rows = table.select(columns).to_pylist()
    rows.sort(key=lambda row: (row["seed"], row["trial_id"]))
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in names)].append(row)
    return [(key, best_setting(groups[key], metric)) for key in sorted(groups)]


def pairs(table: pa.Table, *names: str) -> list[tuple[Any, ...]]:
    """The distinct combinations of some columns, sorted."""
    distinct = table.group_by(list(names)).aggregate([])
    columns = [distinct[name].to_pylist() for name in names]
    return sorted(zip(*columns, strict=True), key=lambda row: tuple(str(v) for v in row))
