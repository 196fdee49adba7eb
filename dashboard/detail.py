"""What the subjects bear out of a column of table 1: intervals, differences, a verdict in words."""

from __future__ import annotations

import pyarrow as pa
import streamlit as st

from dashboard import state
from dashboard.text import markdown_text
from study.report.comparisons import Comparison
from study.report.formats import marked
from study.report.table_one import Cell, TableOne


def in_detail(table: TableOne) -> None:
    """A test cohort's lines, the highest first, each beside the baseline and the highest other."""
    columns = {f"{cohort} {modality}": (cohort, modality) for cohort, modality in table.columns}
    st.header("Is it a difference?", anchor=False)
    name = state.segmented("Test cohort", "detail", list(columns), show=markdown_text)
    lines = [line for line in table.lines if table.cells[line, columns[name]].value is not None]
    cells = {line: table.cells[line, columns[name]] for line in lines}
    lines.sort(key=lambda line: -(cells[line].value or 0.0))
    if not any(cell.interval for cell in cells.values()):
        st.caption(
            "Nothing has been worked out from the subjects yet: `python -m study.run` does it at "
            "its end, also where all its trials are done."
        )
        return
    best = table.names.short_line(*lines[0])
    rows = [
        {
            "Model and score": markdown_text(table.names.short_line(*line)),
            "Setting": markdown_text(cells[line].setting.table_text),
            **_figures(cells[line]),
            "In words": markdown_text(verdict(cells[line], is_best=line == lines[0], best=best)),
        }
        for line in lines
    ]
    with st.container(key="detail-table"):
        st.table(
            pa.Table.from_pylist(rows),
            border="horizontal",
            hide_index=True,
            alt=f"Differences between the lines of table 1 on {name}",
        )
    st.caption(
        "Each figure with its interval of 95 % over subjects (leave-one-out, Student's t). "
        "Highest other: for the highest line the second, for the others the highest. "
        "In words: all differences of the table are one family of tests, with Holm's correction at "
        "5 %. Chosen: what the setting is worth on subjects that did not choose it. "
        "n: subjects with a lesion, and how many with equal lesions would say as much."
    )


def _figures(cell: Cell) -> dict[str, str]:
    figure = marked(cell.value or 0.0, cell.below_chance)
    ends = "" if cell.interval is None else f" ({cell.interval[0]:.3f} to {cell.interval[1]:.3f})"
    count = "–" if cell.n_with_lesion is None else f"{cell.n_with_lesion}"
    effective = "" if cell.n_effective is None else f" ({cell.n_effective:.1f})"
    spread = "" if cell.seed_sd is None else f", SD {cell.seed_sd:.3f}"
    return {
        "AUC": markdown_text(f"{figure}{ends}"),
        "Chosen": "–" if cell.selected is None else f"{cell.selected:.3f}",
        "Above intensity": markdown_text(_difference(cell.over_baseline)),
        "Above highest other": markdown_text(_difference(cell.over_other)),
        "n": markdown_text(f"{count}{effective}"),
        "Seeds": markdown_text(f"{len(cell.trial_ids)}{spread}"),
    }


def _difference(found: Comparison | None) -> str:
    if found is None:
        return "–"
    return f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def verdict(cell: Cell, *, is_best: bool, best: str) -> str:
    """What the tests say of a line, in words.

    Args:
        cell: The line's cell.
        is_best: Whether it is the highest of its column.
        best: What the highest line is called.
    """
    parts = ["worse than chance"] if cell.below_chance else []
    if cell.over_other is not None:
        parts.append(_told(cell.over_other, "the second" if is_best else best))
    if cell.over_baseline is not None and (is_best or best != "Intensity"):
        parts.append(_told(cell.over_baseline, "intensity"))
    return "; ".join(parts) or "–"


def _told(found: Comparison, other: str) -> str:
    if not found.is_separated:
        return f"not distinguishable from {other}"
    return f"{'above' if found.difference > 0 else 'below'} {other}"
