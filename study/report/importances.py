"""Which settings of a model its figure depends on: a functional analysis of variance.

The importance of a setting is the share of the variance of all figures that it explains on its own
(Hutter et al., ICML 2014). Where every combination of values was tried, that is the variance of the
means at each value. Where some were not, Optuna fits a forest and takes its shares, which are rough
with few settings. Seeds are averaged before. Shares tell of the values that were tried alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, prod
from statistics import fmean, pvariance
from typing import TYPE_CHECKING, Any, TypeGuard

import pyarrow as pa
import pyarrow.compute as pc

from study.report.choice import setting_of, with_settings
from trainables.description import Value, value_order

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEAST = 4
"""With fewer settings there is nothing to tell apart."""


@dataclass(frozen=True)
class Tried:
    """A setting of a model and its figure, the mean over the seeds.

    Attributes:
        params: The values that it has of the settings that vary, by name.
        value: Its figure.
        lowest: Of the worst seed.
        highest: Of the best seed.
        n_seeds: Number of seeds.
        trial_id: Of the first seed.
    """

    params: Mapping[str, Value]
    value: float
    lowest: float
    highest: float
    n_seeds: int
    trial_id: str


@dataclass(frozen=True)
class Importance:
    """How much of the variance of a figure a setting explains.

    Attributes:
        name: Of the setting.
        share: Of the variance of all that was tried, by this setting alone, 0 to 1. Those of all
            settings add up to 1 at most; the rest is owed to their combinations.
    """

    name: str
    share: float


def tried(rows: pa.Table, metric: str) -> tuple[Tried, ...]:
    """The settings of one model and score on one test set, the best first.

    Args:
        rows: Their result rows, of every seed.
        metric: The figure; rows without it are left out.

    Returns:
        Each with the settings that vary among them; a value that a specification does not have, or
        that is no plain one, is its text.
    """
    known = with_settings(rows.filter(pc.is_valid(rows[metric])))
    known = known.sort_by([("seed", "ascending"), ("trial_id", "ascending")])
    seeds: dict[str, list[dict[str, Any]]] = {}
    for row in known.select(["setting_id", "spec", "trial_id", metric]).to_pylist():
        seeds.setdefault(row["setting_id"], []).append(row)
    params = {key: dict(setting_of(some[0]["spec"]).params) for key, some in seeds.items()}
    names = sorted({name for some in params.values() for name in some})
    values = {key: {name: _plain(some.get(name)) for name in names} for key, some in params.items()}
    varied = [n for n in names if len({repr(some[n]) for some in values.values()}) > 1]
    found = [
        Tried(
            {name: values[key][name] for name in varied},
            fsum(row[metric] for row in some) / len(some),
            min(row[metric] for row in some),
            max(row[metric] for row in some),
            len(some),
            some[0]["trial_id"],
        )
        for key, some in seeds.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.value, one.trial_id)))


def _plain(value: object) -> Value:
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


def why_not(settings: Sequence[Tried]) -> str:
    """Why nothing can be said of the importance of these settings; empty if it can."""
    if len(settings) < LEAST:
        return f"Fewer than {LEAST} settings have a figure."
    if not settings[0].params:
        return "No setting varies."
    if len(settings[0].params) == 1:
        return "One setting alone varies."
    if len({one.value for one in settings}) == 1:
        return "All settings have the same figure."
    return ""


def importances(settings: Sequence[Tried], seed: int = 0) -> tuple[Importance, ...]:
    """The importance of each setting that varies, the largest first.

    Args:
        settings: From :func:`tried`; those of which :func:`why_not` has nothing to say.
        seed: Of the forest, where there has to be one.
    """
    shares = _of_means(settings) if is_complete(settings) else _of_forest(settings, seed)
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Importance(name, share) for name, share in ordered)


def is_complete(settings: Sequence[Tried]) -> bool:
    """Whether every combination of the values of settings was tried, each once."""
    names = list(settings[0].params)
    combinations = {tuple(repr(one.params[name]) for name in names) for one in settings}
    sizes = [len({repr(one.params[name]) for one in settings}) for name in names]
    return len(combinations) == len(settings) == prod(sizes)


def _of_means(settings: Sequence[Tried]) -> dict[str, float]:
    """The share of each setting where every combination was tried."""
    total = pvariance([one.value for one in settings])
    shares = {}
    for name in settings[0].params:
        at_value: dict[str, list[float]] = {}
        for one in settings:
            at_value.setdefault(repr(one.params[name]), []).append(one.value)
        shares[name] = pvariance([fmean(some) for some in at_value.values()]) / total
    return shares


def _of_forest(settings: Sequence[Tried], seed: int) -> dict[str, float]:
    """The shares that a forest tells where some combinations are missing."""
    import optuna  # takes a while to import
    from optuna.importance import FanovaImportanceEvaluator

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = list(settings[0].params)
    columns = {name: [one.params[name] for one in settings] for name in names}
    spaces = {name: _space(values) for name, values in columns.items()}
    kept = optuna.create_study(direction="maximize")
    kept.add_trials(
        [
            optuna.trial.create_trial(
                value=one.value,
                params={name: _told(spaces[name], one.params[name]) for name in names},
                distributions=spaces,
            )
            for one in settings
        ]
    )
    shares = FanovaImportanceEvaluator(seed=seed).evaluate(kept)
    return {name: float(share) for name, share in shares.items()}


def _space(values: Sequence[Value]) -> BaseDistribution:
    """What a setting may be: numbers by their size, else each value for itself."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(is_number(value) for value in values):
        numbers = [float(value) for value in values if is_number(value)]
        low, high = min(numbers), max(numbers)
        return FloatDistribution(low, high, log=low > 0 and high >= 8 * low)
    return CategoricalDistribution([str(v) for v in sorted(set(values), key=value_order)])


def _told(space: BaseDistribution, value: Value) -> float | str:
    from optuna.distributions import FloatDistribution

    if isinstance(space, FloatDistribution) and isinstance(value, int | float):
        return float(value)
    return str(value)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a setting's value is a number; a switch is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
