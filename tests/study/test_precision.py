"""A study's arithmetic is decided once, by the machines that train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from study.grids._grid import Grid, GridTrial
from study.plan.plan import build_plan, with_precision
from study.records.types import CohortInfo, StudyRecord
from study.run.precision import decide
from trainables.arithmetic import Arithmetic, Precision


def _before(precision: Precision | None) -> StudyRecord:
    return StudyRecord(
        study="s",
        grid="g",
        synthetic=False,
        precision=precision,
        cohorts=(),
        trials=(),
        created="2026-01-01T00:00:00+00:00",
        updated="2026-01-01T00:00:00+00:00",
    )


@pytest.mark.parametrize(
    ("nodes", "precision"),
    [
        (["bfloat16"], "bfloat16"),
        (["float32"], "float32"),
        (["bfloat16", "float32"], "float32"),
        ([], "float32"),
    ],
)
@pytest.mark.parametrize("before", [None, _before(None)])
def test_bfloat16_needs_every_machine_that_trains(
    before: StudyRecord | None, nodes: Sequence[Precision], precision: Precision
) -> None:
    decision = decide("auto", before, lambda: nodes)
    assert (decision.precision, decision.warning) == (precision, "")
    assert precision in decision.words


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_study_that_has_begun_keeps_its_arithmetic(precision: Precision) -> None:
    decision = decide("auto", _before(precision), lambda: ["float32"])
    assert decision.precision == precision
    assert "as when this study began" in decision.words
    assert ("ten times as long" in decision.warning) == (precision == "bfloat16")


@pytest.mark.parametrize("asked", ["float32", "bfloat16"])
def test_what_is_asked_for_is_done(asked: Arithmetic) -> None:
    assert decide(asked, None, lambda: ["bfloat16"]).precision == asked
    other = decide(asked, _before("float32"), lambda: ["bfloat16"])
    assert other.precision == asked
    assert ("trained anew" in other.warning) == (asked == "bfloat16")


def test_a_plan_gives_it_to_all_that_have_one(paper_cohorts: tuple[CohortInfo, ...]) -> None:
    grid = Grid(
        trials=(
            GridTrial("intensity"),
            GridTrial("ae", {"n_c": 8, "n_z": 8}),
            GridTrial("ae", {"n_c": 8, "n_z": 16, "precision": "float32"}),
        ),
        searches=(),
        phantom_subjects={},
    )
    plan = build_plan(grid, paper_cohorts, seeds=[0], epochs=None, precision="bfloat16")
    found: dict[Any, Any] = {
        t.spec.params.get("n_z"): t.spec.params.get("precision") for t in plan.trials
    }
    assert found == {None: None, 8: "bfloat16", 16: "float32"}
    assert with_precision(grid, "float32").trials[0] == grid.trials[0]


def test_the_arithmetic_is_part_of_a_networks_identity(
    paper_cohorts: tuple[CohortInfo, ...],
) -> None:
    grid = Grid((GridTrial("ae", {"n_c": 8, "n_z": 8}),), (), {})
    ids = {
        build_plan(grid, paper_cohorts, seeds=[0], epochs=None, precision=p).trials[0].trial_id
        for p in ("float32", "bfloat16")
    }
    assert len(ids) == 2
