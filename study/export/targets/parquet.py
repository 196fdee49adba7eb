"""``parquet:DIR``: ``trials.parquet``, ``losses.parquet`` and ``metrics.parquet``."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from study.export.extras import Exported
from study.export.runs import ExportedStudy, Run
from study.export.tables import write_tables


def export(study: ExportedStudy, place: str, runs: Sequence[Run]) -> Exported:
    """Write the tables, in place of what was there."""
    return write_tables(place, runs, "parquet", _packed)


def _packed(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()
