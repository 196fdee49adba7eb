"""``csv:DIR``: ``trials.csv``, ``losses.csv`` and ``metrics.csv``."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.csv as pc

from study.export.extras import Exported
from study.export.runs import ExportedStudy, Run
from study.export.tables import write_tables


def export(study: ExportedStudy, place: str, runs: Sequence[Run]) -> Exported:
    """Write the tables, in place of what was there."""
    return write_tables(place, runs, "csv", _packed)


def _packed(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pc.write_csv(table, out)
    return out.getvalue()
