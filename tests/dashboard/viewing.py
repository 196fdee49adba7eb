"""What the viewer's tests share: what its page calls the lines of table 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dashboard.data import open_study
from dashboard.text import markdown_text
from study.records.names import Names
from study.report.best import top_rows
from tests.dashboard.browsing import STUDY


def best_of(store: Path, cohort: str) -> dict[str, dict[str, Any]]:
    """The rows of table 1 on a test cohort, such as ``atlas T1w``, by model and score."""
    view = open_study(str(store), STUDY).view()
    assert view.record is not None
    rows = top_rows(view.record, view.index, view.results, "auc")
    place = {"region": "brain"}
    place["cohort"], place["modality"] = cohort.split()
    here = [row for row in rows if all(row[name] == value for name, value in place.items())]
    return {f"{row['model']}:{row['score']}": row for row in here}


def line_text(store: Path, cohort: str, key: str) -> str:
    """What people read for a line of table 1."""
    record = open_study(str(store), STUDY).view().record
    assert record is not None
    row = best_of(store, cohort)[key]
    names = Names(record.detectors)
    return f"{names.line(row['model'], row['score'])} {row['setting'] or ''}".strip()


def sides(store: Path, cohort: str, left: str, right: str = "none") -> dict[str, str]:
    """The choices of the page that show some lines, as its address has them."""
    texts = {
        "cohort": cohort,
        "left-line": markdown_text(line_text(store, cohort, left)),
        "right-line": right if right == "none" else markdown_text(line_text(store, cohort, right)),
    }
    return texts
