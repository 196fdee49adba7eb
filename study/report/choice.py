"""Which setting of a cell of table 1 is the best: the one with the highest mean over its seeds.

A setting is a specification without its seed. Seeds are averaged, never maximised: the luckiest
seed says nothing of the next.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import fsum
from typing import Any

import pyarrow as pa

from datasets.identity import digest
from study.records.names import Names
from study.records.types import PlannedTrial
from trainables.description import Value

CELL = ("model", "score", "cohort", "modality", "region")
"""What tells the cells of table 1 apart, for either region."""

Row = dict[str, Any]


def setting_id(spec: Mapping[str, Any]) -> str:
    """Identity of a setting: a specification without its seed and its epochs, as JSON values."""
    return digest({k: v for k, v in spec.items() if k not in ("seed", "epochs")})


@dataclass(frozen=True)
class IdentifiedParams:
    """The settings of a specification.

    Attributes:
        setting_id: Their identity, see :func:`setting_id`.
        params: The detector's own settings.
    """

    setting_id: str
    params: Mapping[str, Any]


@lru_cache(maxsize=32768)
def setting_of(spec: str) -> IdentifiedParams:
    """The settings of a specification as the index has it."""
    content = json.loads(spec)
    return IdentifiedParams(setting_id(content), content["params"])


def with_settings(results: pa.Table) -> pa.Table:
    """Result rows of an index with a column ``setting_id`` more."""
    specs = results["spec"].combine_chunks().dictionary_encode()
    ids = pa.array(
        [setting_of(text).setting_id for text in specs.dictionary.to_pylist()], pa.string()
    )
    return results.append_column("setting_id", ids.take(specs.indices))


def mean_of(seeds: Sequence[Row], metric: str) -> float:
    """Mean of a figure over the seeds of a setting."""
    return fsum(row[metric] for row in seeds) / len(seeds)


def by_setting(rows: Iterable[Row], metric: str) -> list[list[Row]]:
    """The rows of one cell that have a figure, the seeds of a setting together."""
    settings: dict[str, list[Row]] = {}
    for row in rows:
        if row[metric] is not None:
            settings.setdefault(row["setting_id"], []).append(row)
    return list(settings.values())


def best_setting(rows: Iterable[Row], metric: str) -> list[Row]:
    """The seeds of the setting with the highest mean, among the rows of one cell.

    Of equal ones the first; undefined figures count for nothing.
    """
    return max(by_setting(rows, metric), key=lambda seeds: mean_of(seeds, metric), default=[])


def best_rows(rows: Iterable[Row], metric: str) -> list[Row]:
    """For each cell of table 1 and region, the rows of the best setting, a row a seed.

    Args:
        rows: Result rows, in table order.
        metric: One of ``study.report.table.METRICS``.
    """
    cells: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        cells.setdefault(tuple(row[name] for name in CELL), []).append(row)
    return [row for cell in cells.values() for row in best_setting(cell, metric)]


def seeds_by_place(best: Iterable[Row], region: str = "brain") -> list[list[Row]]:
    """The rows of the best settings of a region that have an AUC, the seeds of a setting together.

    Args:
        best: What :func:`best_rows` gives.
        region: Of the pixels that count.
    """
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in best:
        if row["region"] == region and row["auc"] is not None:
            found.setdefault(tuple(row[name] for name in CELL), []).append(row)
    return list(found.values())


def planned_seeds(
    trials: Iterable[PlannedTrial], rows: Iterable[Row], names: Names
) -> Counter[str]:
    """With how many seeds the settings of some rows are planned, by ``setting_id``.

    Args:
        trials: The plan's trials.
        rows: Result rows.
        names: What the study's settings are called.
    """
    wanted = {(row["model"], tuple(row["settings"].items())) for row in rows}
    chosen: dict[tuple[str, str], tuple[tuple[str, Value], ...]] = {}
    found: Counter[str] = Counter()
    for trial in trials:
        model, params = trial.spec.model, trial.spec.params
        key = (model, repr(params))
        if key not in chosen:
            chosen[key] = tuple(names.chosen(model, params).as_dict().items())
        if (model, chosen[key]) in wanted:
            found[setting_id(trial.spec.model_dump(mode="json"))] += 1
    return found
