"""``csv:DIR``: ``trials.csv``, ``losses.csv`` and ``metrics.csv``."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow.csv as pc

from datasets.files import write_whole
from study.export.extras import Exported
from study.export.runs import ExportedStudy, Run
from study.export.tables import folder, tables


def export(study: ExportedStudy, place: str, runs: Sequence[Run]) -> Exported:
    """Write the tables, in place of what was there."""
    path = folder(place)
    for name, table in tables(runs).items():
        out = io.BytesIO()
        pc.write_csv(table, out)
        write_whole(path / f"{name}.csv", out.getvalue())
    return Exported(len(runs), 0, str(path))
