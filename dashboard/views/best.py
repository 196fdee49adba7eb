"""Best per data set: table 1 of the paper, ours beside it."""

from __future__ import annotations

import pyarrow as pa
import streamlit as st

from dashboard.charts import paper_figure
from dashboard.data import postprocessed_of, table_of
from dashboard.detail import in_detail
from dashboard.figures import chart
from dashboard.frame import (
    Frame,
    current,
    empty,
    region_and_metric,
    synthetic_note,
    title,
    watch,
    wide,
)
from dashboard.links import page_url
from dashboard.operating import at_thresholds
from dashboard.paper_kit import kit_button
from dashboard.postprocessed import after_postprocessing
from dashboard.provenance import provenance
from dashboard.text import markdown_text
from study.report.formats import METRIC_LABELS, legends, marked, table_csv, table_latex
from study.report.table_one import Cell, TableOne


def main() -> None:
    """Draw the page."""
    frame = current()
    watch(frame)
    title("Best per data set", "Table 1 of the paper: the best setting of each model and score.")
    with st.container(horizontal=True, gap="medium"):
        region, metric = region_and_metric()
    version = frame.view.version
    table = table_of(frame.uri, frame.study, version, metric, region, frame.view)
    if not table.lines:
        empty(
            "No trial of this study has been evaluated yet",
            "The table fills while the study runs; the page **Study** shows how far it is.",
        )
        return
    _table(table)
    bold = "" if table.has_intervals else "Bold: the best of its column. "
    told = [legend for legend in legends(table) if not legend.startswith("chosen")]
    st.caption(
        f"{bold}The settings are chosen on the test set itself, as in the paper: optimistic. "
        f"{markdown_text(' '.join(told))}"
    )
    synthetic_note(frame, [cohort for cohort, _ in table.columns])
    _downloads(frame, table)
    if metric == "auc":
        in_detail(table)
    at_thresholds(table)
    cells = postprocessed_of(frame.uri, frame.study, version, frame.view)
    after_postprocessing(cells, table.names)
    _trial_links(frame, table)
    provenance(frame)
    if any(table.has_paper(column) for column in table.columns):
        _beside_the_paper(table)


def _table(table: TableOne) -> None:
    columns: dict[str, list[str]] = {
        "Model": [_model(table, i) for i in range(len(table.lines))],
        "Score": [markdown_text(table.names.score(*line)) for line in table.lines],
    }
    for column in table.columns:
        name = markdown_text(f"{column[0]} {column[1]}")
        cells = [table.cells[line, column] for line in table.lines]
        columns[name] = [_ours(cell) for cell in cells]
        if table.has_paper(column):
            columns[f"paper {name}"] = [_paper(cell) for cell in cells]
    with st.container(key="table-1"):
        st.table(
            pa.table(columns),
            border="horizontal",
            hide_index=True,
            alt=f"{METRIC_LABELS[table.metric]} of each model and score on each test cohort",
        )


def _model(table: TableOne, i: int) -> str:
    """The model's name on its first line only, as a printed table has it."""
    model = table.lines[i][0]
    repeated = i > 0 and table.lines[i - 1][0] == model
    return "" if repeated else f"**{markdown_text(table.names.model(model))}**"


def _ours(cell: Cell) -> str:
    if cell.value is None:
        return ":gray[–]"
    figure = marked(cell.value, cell.below_chance)
    figure = f"**{figure}**" if cell.is_bold else figure
    if cell.interval is not None:
        figure += f" :gray[{cell.interval[0]:.3f}–{cell.interval[1]:.3f}]"
    return figure + _small(cell.setting.table_text)


def _paper(cell: Cell) -> str:
    if cell.paper is None:
        return ""
    figure = marked(cell.paper, cell.paper_below_chance)
    return f":gray[{figure}]" + _small(cell.paper_setting.table_text)


def _small(text: str) -> str:
    return f" :gray[:small[{markdown_text(text)}]]" if text else ""


def _downloads(frame: Frame, table: TableOne) -> None:
    synthetic = frame.record.synthetic
    stem = f"{frame.study}-{table.metric}-{table.region}"
    with st.container(horizontal=True):
        st.download_button(
            "CSV",
            table_csv([table], synthetic=synthetic),
            file_name=f"{stem}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        st.download_button(
            "LaTeX",
            table_latex(table, synthetic=synthetic),
            file_name=f"{stem}.tex",
            mime="text/x-tex",
            icon=":material/download:",
            on_click="ignore",
        )
        kit_button(frame)


def _trial_links(frame: Frame, table: TableOne) -> None:
    head, icon = "The trials behind the table", ":material/biotech:"
    with st.expander(head, key="trials behind", icon=icon, on_change="rerun") as box:
        if not box.open:
            return
        cells = [
            (line, column, table.cells[line, column], number, trial_id)
            for line in table.lines
            for column in table.columns
            for number, trial_id in enumerate(table.cells[line, column].trial_ids, 1)
        ]
        data = pa.table(
            {
                "Model": [table.names.model(line[0]) for line, *_ in cells],
                "Score": [table.names.score(*line) for line, *_ in cells],
                "Test cohort": [" ".join(column) for _, column, *_ in cells],
                METRIC_LABELS[table.metric]: [cell.value for _, _, cell, *_ in cells],
                "Setting": [cell.setting.table_text for _, _, cell, *_ in cells],
                "Seed": [f"{n} of {len(cell.trial_ids)}" for _, _, cell, n, _ in cells],
                "Trial": [page_url(frame, "trial", trial=trial) for *_, trial in cells],
            }
        )
        st.dataframe(
            data,
            hide_index=True,
            column_config={
                "Trial": st.column_config.LinkColumn(display_text="open"),
                METRIC_LABELS[table.metric]: st.column_config.NumberColumn(format="%.4f"),
            },
        )


def _beside_the_paper(table: TableOne) -> None:
    st.header("Beside the paper", anchor=False)
    columns = [column for column in table.columns if table.has_paper(column)]
    with wide("paper", 120 + 230 * len(columns)):
        chart(
            paper_figure(table, columns),
            "beside the paper",
            None,
            "ROC-AUC of this study and of the paper on each test cohort",
        )
    st.caption(
        "Filled: this study. Open diamond: the paper. Dashed: guessing. The paper's data are "
        "hospital scans, so figures on other data need not agree."
    )


main()
