"""The best settings of a study, without making rows of all its trials.

Ten thousand trials have some hundred thousand result rows. They stay in Arrow until few are left;
what counts and in which order is said by ``study.report.table``, what is best by
``study.report.choice``.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.records.types import StudyRecord
from study.report.choice import CELL, best_rows, with_settings
from study.report.table import result_rows

_CELL = list(CELL)
_ROUNDING = 1e-9


def top_rows(
    record: StudyRecord, index: pa.Table, results: pa.Table, metric: str
) -> list[dict[str, Any]]:
    """For each cell of table 1 and region, the best setting's rows, a row a seed, in table order.

    Equal to ``best_rows(result_rows(record, index), metric)``, without making all rows first.

    Args:
        record: The study.
        index: Its index.
        results: The index's finished evaluation rows of the current plan.
        metric: One of ``study.report.table.METRICS``.
    """
    kept = with_settings(results.filter(pc.is_valid(results[metric])))
    of_setting = [*_CELL, "setting_id"]
    means = kept.group_by(of_setting, use_threads=False).aggregate([(metric, "mean")])
    highest = means.group_by(_CELL, use_threads=False).aggregate([(f"{metric}_mean", "max")])
    joined = means.join(highest, keys=_CELL, use_threads=False)
    # Sums may round differently in another order: which of these is best is decided below.
    lowest = pc.subtract(joined[f"{metric}_mean_max"], _ROUNDING)
    at_top = joined.filter(pc.greater_equal(joined[f"{metric}_mean"], lowest)).select(of_setting)
    numbers = pa.array(range(kept.num_rows), pa.int64())
    numbered = kept.select(of_setting).append_column("row", numbers)
    chosen = numbered.join(at_top, keys=of_setting, join_type="left semi", use_threads=False)
    few = kept.drop_columns("setting_id").take(pa.array(sorted(chosen["row"].to_pylist()), "int64"))
    # A search's trials are known by its fits, not by the study's record.
    asked_for = pc.or_(pc.is_valid(index["search"]), pc.is_in(index["trial_id"], few["trial_id"]))
    fits = index.filter(pc.and_(pc.equal(index["kind"], "fit"), asked_for))
    return best_rows(result_rows(record, pa.concat_tables([few, fits])), metric)


def found_cells(results: pa.Table) -> list[dict[str, Any]]:
    """The cells of table 1 for which there is any result, an undefined figure included.

    Args:
        results: Finished evaluation rows.
    """
    cells: list[dict[str, Any]] = (
        results.group_by(_CELL, use_threads=False).aggregate([]).to_pylist()
    )
    return cells
