"""Which settings a figure depends on, from figures whose cause is known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from study.report.importances import Tried, importances, is_complete, tried, why_not


def _row(value: float | None, seed: int = 0, trial: str = "", **params: Any) -> dict[str, Any]:
    spec = {"model": "vae", "modality": "T1w", "seed": seed, "epochs": 5, "params": params}
    name = trial or f"{json.dumps(params)} {seed}"
    return {"spec": json.dumps(spec), "seed": seed, "trial_id": name, "auc": value}


def _grid(effect: Any, seeds: int = 2) -> pa.Table:
    rng = np.random.default_rng(2)
    rows = [
        _row(effect(n_c, n_z, kind) + 1e-4 * rng.normal(), seed, n_c=n_c, n_z=n_z, kind=kind)
        for n_c in (8, 16, 32)
        for n_z in (8, 32, 128, 512)
        for kind in ("sum", "mean")
        for seed in range(seeds)
    ]
    return pa.Table.from_pylist(rows)


def test_settings_are_means_over_their_seeds_with_the_values_that_vary() -> None:
    rows = [
        _row(0.6, 1, n_c=8, rate=0.1, betas=[0.9, 0.99]),
        _row(0.8, 0, n_c=8, rate=0.1, betas=[0.9, 0.99]),
        _row(0.9, 0, n_c=16, rate=0.1, betas=[0.9, 0.99]),
        _row(None, 1, n_c=16, rate=0.1, betas=[0.9, 0.99]),
    ]
    first, second = tried(pa.Table.from_pylist(rows), "auc")
    assert (first.params, first.value, first.n_seeds) == ({"n_c": 16}, 0.9, 1)
    assert (second.params, second.n_seeds) == ({"n_c": 8}, 2)
    assert second.value == pytest.approx(0.7)
    assert (second.lowest, second.highest) == (0.6, 0.8)
    assert second.trial_id == rows[1]["trial_id"]
    assert tried(pa.Table.from_pylist(rows).slice(3), "auc") == ()


@pytest.mark.parametrize("left_out", [0, 1])  # with all combinations, and by a forest
def test_the_setting_that_moves_the_figure_has_the_share(left_out: int) -> None:
    by_size = tried(_grid(lambda n_c, n_z, kind: 0.5 + 0.05 * np.log2(n_z)), "auc")[left_out:]
    assert is_complete(by_size) == (not left_out)
    found = importances(by_size)
    assert found[0].name == "n_z"
    assert found[0].share > 0.9
    assert sum(one.share for one in found) <= 1 + 1e-9
    by_kind = tried(_grid(lambda n_c, n_z, kind: 0.7 if kind == "sum" else 0.5), "auc")[left_out:]
    assert importances(by_kind)[0].name == "kind"
    assert importances(by_kind)[0].share > 0.9
    assert importances(by_kind) == importances(by_kind)


def test_what_two_settings_do_together_belongs_to_neither() -> None:
    def both(n_c: int, n_z: int, kind: str) -> float:
        return 0.7 if (n_z > 64) == (kind == "sum") else 0.5

    shares = {one.name: one.share for one in importances(tried(_grid(both), "auc"))}
    assert sum(shares.values()) < 0.01


def test_independent_effects_add_up_to_all_of_the_variance() -> None:
    shares = importances(tried(_grid(lambda n_c, n_z, kind: n_c / 100 + n_z / 2000), "auc"))
    values = {name: np.array(v) for name, v in (("n_c", (8, 16, 32)), ("n_z", (8, 32, 128, 512)))}
    parts = {"n_c": np.var(values["n_c"] / 100), "n_z": np.var(values["n_z"] / 2000)}
    total = sum(parts.values())
    found = {one.name: one.share for one in shares}
    assert found["n_c"] == pytest.approx(parts["n_c"] / total, abs=1e-3)
    assert found["n_z"] == pytest.approx(parts["n_z"] / total, abs=1e-3)
    assert sum(found.values()) == pytest.approx(1, abs=1e-3)


def _some(*values: float, **params: list[Any]) -> list[Tried]:
    return [
        Tried({name: some[i] for name, some in params.items()}, value, value, value, 1, str(i))
        for i, value in enumerate(values)
    ]


def test_where_nothing_can_be_told_there_is_a_reason() -> None:
    assert "Fewer than 4" in why_not(_some(0.1, 0.2, n_c=[1, 2], n_z=[1, 2]))
    assert "Fewer than 4" in why_not([])
    assert why_not(_some(0.1, 0.2, 0.3, 0.4)) == "No setting varies."
    assert why_not(_some(0.1, 0.2, 0.3, 0.4, n_c=[1, 2, 3, 4])) == "One setting alone varies."
    both = {"n_c": [1, 1, 2, 2], "n_z": [1, 2, 1, 2]}
    assert "same figure" in why_not(_some(0.1, 0.1, 0.1, 0.1, **both))
    assert why_not(_some(0.1, 0.2, 0.3, 0.4, **both)) == ""


def test_values_that_are_missing_or_no_numbers_are_told_apart() -> None:
    rows = [
        _row(0.5 + 0.1 * i, n_c=8 * (i + 1), flag=i % 2 == 0, extra=None if i < 2 else "x")
        for i in range(6)
    ]
    settings = tried(pa.Table.from_pylist(rows), "auc")
    assert set(settings[0].params) == {"n_c", "flag", "extra"}
    assert {one.name for one in importances(settings)} == {"n_c", "flag", "extra"}
