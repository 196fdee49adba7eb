"""The best trials of a study, without making rows of all the others.

Ten thousand trials have some hundred thousand result rows. They stay in Arrow until few are left;
what counts, what is best and in which order is said by ``study.table``.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from study.records import StudyRecord
from study.table import best_rows, result_rows

_CELL = ["model", "score", "cohort", "modality", "region"]


def top_rows(
    record: StudyRecord, index: pa.Table, results: pa.Table, metric: str
) -> list[dict[str, Any]]:
    """For each cell of table 1 and region, the best trial's row, in table order.

    Equal to ``best_rows(result_rows(record, index), metric)``, without making all rows first.

    Args:
        record: The study.
        index: Its index.
        results: The index's finished evaluation rows of the current plan.
        metric: One of ``study.table.METRICS``.
    """
    kept = results.filter(pc.is_valid(results[metric]))
    highest = kept.group_by(_CELL).aggregate([(metric, "max")])
    numbered = kept.select([*_CELL, metric]).append_column(
        "row", pa.array(range(kept.num_rows), pa.int64())
    )
    joined = numbered.join(highest, keys=_CELL)
    at_top = joined.filter(pc.equal(joined[metric], joined[f"{metric}_max"]))
    few = kept.take(pa.array(sorted(at_top["row"].to_pylist()), pa.int64()))
    # A search's trials are known by its fits, not by the study's record.
    asked_for = pc.or_(pc.is_valid(index["search"]), pc.is_in(index["trial_id"], few["trial_id"]))
    fits = index.filter(pc.and_(pc.equal(index["kind"], "fit"), asked_for))
    return best_rows(result_rows(record, pa.concat_tables([few, fits])), metric)


def found_cells(results: pa.Table) -> list[dict[str, Any]]:
    """The cells of table 1 for which there is any result, an undefined figure included.

    Args:
        results: Finished evaluation rows.
    """
    cells: list[dict[str, Any]] = results.group_by(_CELL).aggregate([]).to_pylist()
    return cells
