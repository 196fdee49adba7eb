from __future__ import annotations

import pyarrow as pa

from study.report.report import undefined


def test_a_cohort_without_any_auc_is_told_with_the_reason() -> None:
    rows = [
        {"cohort": cohort, "modality": "T1w", "region": "brain", "auc": auc}
        for cohort, auc in (("a", None), ("a", None), ("b", None), ("b", 0.5))
    ]
    (sentence,) = undefined(pa.Table.from_pylist(rows))
    assert "for a T1w" in sentence
    assert "inside the brain masks" in sentence
