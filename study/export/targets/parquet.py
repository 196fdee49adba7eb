"""``parquet:DIR``: ``trials.parquet``, ``losses.parquet`` and ``metrics.parquet``."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow.parquet as pq

from datasets.files import write_whole
from study.export.extras import Exported
from study.export.runs import ExportedStudy, Run
from study.export.tables import folder, tables


def export(study: ExportedStudy, place: str, runs: Sequence[Run]) -> Exported:
    """Write the tables, in place of what was there."""
    path = folder(place)
    for name, table in tables(runs).items():
        out = io.BytesIO()
        pq.write_table(table, out, compression="zstd")
        write_whole(path / f"{name}.parquet", out.getvalue())
    return Exported(len(runs), 0, str(path))
