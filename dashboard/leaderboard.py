"""Trials and settings of one test cohort in order of a figure, and what tells some from others.

Pure functions. Ten thousand trials have tens of thousands of rows, so they stay in Arrow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.report.choice import with_settings
from study.report.table import METRICS
from trainables.description import value_text

MOST_ROWS = 500
"""So many rows go to a browser; more would make it slow, and nobody scrolls through them."""

_TRIAL_COLUMNS = (
    *("model", "score", "setting", "seed", *METRICS, "mean_subject_auc", "epochs"),
    *("n_parameters", "trial_id", "eval_id", "n_pixels", "n_positive", "spec"),
)
_FIRST = ("setting", "trial_id", "eval_id", "seed", "n_pixels", "n_positive", "spec", "auc")


def by_trial(rows: pa.Table, fits: pa.Table, metric: str) -> pa.Table:
    """The trials of one cohort, modality and region, the highest figure first.

    Args:
        rows: Their result rows, of every score.
        fits: The study's fits, which tell how long training took.
        metric: One of ``study.report.table.METRICS``; rows without it come last.

    Returns:
        A row a trial and score, with ``fit_s``, the seconds of training.
    """
    table = rows.select(list(_TRIAL_COLUMNS))
    places = pc.index_in(table["trial_id"], value_set=fits["trial_id"].combine_chunks())
    table = table.append_column("fit_s", fits["wall_s"].take(places))
    return _ordered(table, metric, metric)


def by_setting(rows: pa.Table, metric: str) -> pa.Table:
    """The settings of one cohort, modality and region, the highest mean over the seeds first.

    Args:
        rows: Their result rows, of every score and seed.
        metric: One of ``study.report.table.METRICS``; settings without it come last.

    Returns:
        A row a setting and score: for each metric ``NAME_mean`` and ``NAME_stddev``, which is null
        of one seed; ``n_seeds``; and of the first seed ``trial_id_first`` and others.
    """
    known = with_settings(rows).sort_by([("seed", "ascending"), ("trial_id", "ascending")])
    spread = pc.VarianceOptions(ddof=1, min_count=2)
    means = [(name, "mean") for name in METRICS]
    spreads = [(name, "stddev", spread) for name in METRICS]
    firsts = [(name, "first") for name in _FIRST]
    wanted = [*means, *spreads, *firsts, ("seed", "count")]
    grouped = known.group_by(["model", "score", "setting_id"], use_threads=False)
    table = grouped.aggregate(wanted)
    names = ["n_seeds" if name == "seed_count" else name for name in table.column_names]
    return _ordered(table.rename_columns(names), f"{metric}_mean", metric)


def narrowed(
    table: pa.Table, models: Sequence[str], scores: Sequence[str], setting: str
) -> pa.Table:
    """The rows of some models and scores whose setting has some text in it.

    Args:
        table: From :func:`by_trial` or :func:`by_setting`.
        models: Of which one may be; none for all.
        scores: Likewise.
        setting: Part of what people read of the setting, in small or large letters; empty for all.
    """
    if models:
        table = table.filter(pc.is_in(table["model"], pa.array(models, pa.string())))
    if scores:
        table = table.filter(pc.is_in(table["score"], pa.array(scores, pa.string())))
    if setting.strip():
        name = "setting" if "setting" in table.column_names else "setting_first"
        told = pc.fill_null(table[name], "")
        table = table.filter(pc.match_substring(told, setting.strip(), ignore_case=True))
    return table


def differing(specs: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """The settings in which some specifications differ, with what each has.

    Args:
        specs: Specifications as the index has them.

    Returns:
        Name and values in the order of ``specs``, sorted by name; a dash where one has no such
        setting.
    """
    known = [_flat(json.loads(spec)) for spec in specs]
    names = sorted({name for some in known for name in some})
    found = [(name, tuple(_told(some, name) for some in known)) for name in names]
    return [(name, values) for name, values in found if len(set(values)) > 1]


def _flat(spec: dict[str, Any]) -> dict[str, Any]:
    """A specification's own fields and its detector's settings, by one name each."""
    return {**{k: v for k, v in spec.items() if k != "params"}, **spec["params"]}


def _told(some: dict[str, Any], name: str) -> str:
    if name not in some:
        return "–"
    value = some[name]
    plain = value is None or isinstance(value, bool | int | float | str)
    return value_text(value) if plain else json.dumps(value)


def unique_names(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names by their keys; where a name is there already, its key follows it.

    Args:
        names: Keys with the names that people read.
    """
    found: dict[str, str] = {}
    known: set[str] = set()
    for key, name in names:
        found[key] = f"{name} · {key}" if name in known else name
        known.add(found[key])
    return found


def _ordered(table: pa.Table, column: str, metric: str) -> pa.Table:
    if metric not in METRICS:
        raise ValueError(f"there is no metric {metric!r}; it is one of {', '.join(METRICS)}")
    last = "trial_id" if "trial_id" in table.column_names else "trial_id_first"
    keys = [(column, "descending"), ("model", "ascending"), ("score", "ascending")]
    keys.append((last, "ascending"))
    return table.take(pc.sort_indices(table, sort_keys=keys))  # rows without a figure come last
