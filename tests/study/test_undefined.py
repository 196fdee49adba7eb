from __future__ import annotations

import pyarrow as pa

from study.grids._grid import load_grid
from study.plan.plan import build_plan
from study.records.types import CohortInfo
from study.report.report import searched, undefined


def test_a_cohort_without_any_auc_is_told_with_the_reason() -> None:
    rows = [
        {"cohort": cohort, "modality": "T1w", "region": "brain", "auc": auc}
        for cohort, auc in (("a", None), ("a", None), ("b", None), ("b", 0.5))
    ]
    (sentence,) = undefined(pa.Table.from_pylist(rows))
    assert "for a T1w" in sentence
    assert "inside the brain masks" in sentence


def test_a_search_without_results_has_chosen_nothing(
    paper_cohorts: tuple[CohortInfo, ...],
) -> None:
    searches = build_plan(load_grid("smoke"), paper_cohorts, seeds=(0,), epochs=None).searches
    everything = {(search.spec.model, search.spec.modality) for search in searches}
    assert everything
    assert searched(searches, set()) == []
    assert len(searched(searches, everything)) == len(everything)
