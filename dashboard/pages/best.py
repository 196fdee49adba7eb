"""Best per data set: table 1 of the paper, ours beside it."""

from __future__ import annotations

import pyarrow as pa
import streamlit as st

from dashboard.charts import paper_figure
from dashboard.data import best_of
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
from dashboard.tables import (
    METRIC_LABELS,
    BestTable,
    Cell,
    best_table,
    table_csv,
    table_latex,
)
from dashboard.text import markdown_text
from study.table import label


def main() -> None:
    """Draw the page."""
    frame = current()
    watch(frame)
    title("Best per data set", "Table 1 of the paper: the best trial of each model and score.")
    with st.container(horizontal=True, gap="medium"):
        region, metric = region_and_metric()
    rows = best_of(frame.uri, frame.study, frame.view.version, metric, frame.view)
    table = best_table(rows, region, metric)
    if not table.lines:
        empty(
            "No trial of this study has been evaluated yet",
            "The table fills while the study runs; the page **Study** shows how far it is.",
        )
        return
    _table(table)
    st.caption(
        "Bold: the best of its column. Brackets: (N_c, N_z) or λ of the trial it comes from, "
        "chosen on the test set itself, as in the paper: optimistic."
    )
    synthetic_note(frame.record, [cohort for cohort, _ in table.columns])
    _downloads(frame, table)
    _trial_links(frame, table)
    if metric == "auc" and any(cell.paper is not None for cell in table.cells.values()):
        _beside_the_paper(table)


def _table(table: BestTable) -> None:
    columns: dict[str, list[str]] = {
        "Model": [_model(table, i) for i in range(len(table.lines))],
        "Score": [markdown_text(label(score)) for _, score in table.lines],
    }
    for column in table.columns:
        name = markdown_text(f"{column[0]} {column[1]}")
        cells = [table.cells[line, column] for line in table.lines]
        columns[name] = [_ours(cell) for cell in cells]
        if any(cell.paper is not None for cell in cells):
            columns[f"paper {name}"] = [_paper(cell) for cell in cells]
    with st.container(key="table-1"):
        st.table(
            pa.table(columns),
            border="horizontal",
            hide_index=True,
            alt=f"{METRIC_LABELS[table.metric]} of each model and score on each test cohort",
        )


def _model(table: BestTable, i: int) -> str:
    """The model's name on its first line only, as a printed table has it."""
    model = table.lines[i][0]
    repeated = i > 0 and table.lines[i - 1][0] == model
    return "" if repeated else f"**{markdown_text(label(model))}**"


def _ours(cell: Cell) -> str:
    if cell.value is None:
        return ":gray[–]"
    figure = f"{cell.value:.3f}"
    figure = f"**{figure}**" if cell.best else figure
    if cell.interval is not None:
        figure += f" :gray[{cell.interval[0]:.3f}–{cell.interval[1]:.3f}]"
    return f"{figure} :gray[:small[{markdown_text(cell.setting)}]]" if cell.setting else figure


def _paper(cell: Cell) -> str:
    return "" if cell.paper is None else f":gray[{cell.paper:.3f}]"


def _downloads(frame: Frame, table: BestTable) -> None:
    synthetic = frame.record.synthetic
    stem = f"{frame.study}-{table.metric}-{table.region}"
    with st.container(horizontal=True):
        st.download_button(
            "CSV",
            table_csv(table, synthetic=synthetic),
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


def _trial_links(frame: Frame, table: BestTable) -> None:
    head, icon = "The trials behind the table", ":material/biotech:"
    with st.expander(head, key="trials behind", icon=icon, on_change="rerun") as box:
        if not box.open:
            return
        cells = [
            (line, column, table.cells[line, column])
            for line in table.lines
            for column in table.columns
            if table.cells[line, column].trial_id
        ]
        data = pa.table(
            {
                "Model": [label(line[0]) for line, _, _ in cells],
                "Score": [label(line[1]) for line, _, _ in cells],
                "Test cohort": [f"{cohort} {modality}" for _, (cohort, modality), _ in cells],
                METRIC_LABELS[table.metric]: [cell.value for _, _, cell in cells],
                "Setting": [cell.setting for _, _, cell in cells],
                "Trial": [f"trial?study={frame.study}&trial={c.trial_id}" for _, _, c in cells],
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


def _beside_the_paper(table: BestTable) -> None:
    st.subheader("Beside the paper", anchor=False)
    columns = [
        column
        for column in table.columns
        if any(table.cells[line, column].paper is not None for line in table.lines)
    ]
    with wide("paper", 120 + 230 * len(columns)):
        st.plotly_chart(
            paper_figure(table, columns),
            key="beside the paper",
            config={"displayModeBar": False},
            alt="ROC-AUC of this study and of the paper on each test cohort",
        )
    st.caption(
        "Filled: this study. Open diamond: the paper. Dashed: guessing. The paper's data are "
        "hospital scans, so figures on other data need not agree."
    )


main()
