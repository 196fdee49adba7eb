"""Compare: this study beside others on the same test cohorts, and what was done differently."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import streamlit as st

from dashboard import state
from dashboard.comparison import Compared, roc_together, settings_apart
from dashboard.data import rows_of
from dashboard.difference_charts import difference_figure, difference_of
from dashboard.figures import chart
from dashboard.frame import (
    Frame,
    current,
    empty,
    guarded,
    has_results,
    region,
    say_unread,
    show_choice,
    synthetic_note,
    title,
    watch,
)
from dashboard.other_studies import differences_between, open_other, others_of
from dashboard.subjects import SubjectLine, best_line, lines_of
from dashboard.text import markdown_text
from study.report.table import table_columns
from study.report.two_studies import Difference, made_differently, shared_cohorts

MOST_OTHERS = 5


def main() -> None:
    """Draw the page."""
    frame = current()
    watch(frame)
    title("Compare", "This study beside others on the same test cohorts.")
    if not has_results(frame.view, "A comparison appears with the first results"):
        return
    others = _choose(frame)
    if not others:
        synthetic_note(frame)
        return
    columns = _columns(frame, others)
    if not columns:
        empty("No other study that is chosen has results", "Choose another one.")
        return
    name = state.segmented("Test cohort", "cohort", list(columns), show=show_choice)
    told = st.container()
    guarded(lambda: _curves(frame, others, columns[name]), "The curves")
    _made(frame, others)
    with told, st.spinner("Comparing the subjects…", show_time=True):
        guarded(lambda: _differences(frame, others, columns[name]), "The differences")
    synthetic_note(frame, [columns[name][0]])


def _choose(frame: Frame) -> dict[str, Frame]:
    """The other studies to show, by what they are called; nothing if there are none, as is said."""
    places = others_of(frame)
    if not places:
        empty(
            "No other study here was tested on a cohort of this one",
            "Run a second one in the same store, such as `python -m study.run --grid NAME "
            "--study NAME`, or open several stores: "
            "`streamlit run dashboard/app.py -- --store A --store B`.",
        )
        return {}
    names = list(places)
    chosen = state.many(
        "Beside it",
        "beside",
        names,
        default=names[:1],
        max_selections=MOST_OTHERS,
        width=520,
    )
    opened = {name: open_other(places[name]) for name in chosen or names[:1]}
    return {name: other for name, other in opened.items() if other is not None}


def _columns(frame: Frame, others: Mapping[str, Frame]) -> dict[str, tuple[str, str]]:
    """The test cohorts that have results here and in one of the others, in table order."""

    def tested(one: Frame) -> set[tuple[str, str]]:
        distinct = one.view.results.group_by(["cohort", "modality"], use_threads=False).aggregate(
            []
        )
        return {(row["cohort"], row["modality"]) for row in distinct.to_pylist()}

    shared = tested(frame) & {column for other in others.values() for column in tested(other)}
    ordered = table_columns([{"cohort": c, "modality": m} for c, m in shared])
    return {f"{cohort} {modality}": (cohort, modality) for cohort, modality in ordered}


def _differences(frame: Frame, others: Mapping[str, Frame], column: tuple[str, str]) -> None:
    st.header("Differences", anchor=False)
    both = {name: differences_between(frame, other) for name, other in others.items()}
    found = {name: some for name, (some, _) in both.items()}
    for words in dict.fromkeys(words for _, told in both.values() for words in told):
        say_unread(words)
    here = [d for some in found.values() for d in some if (d.cohort, d.modality) == column]
    if not here:
        st.caption("No line of table 1 has a ROC-AUC over brain pixels in both.")
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.dataframe(
            _table(frame, found, column, many=len(others) > 1),
            hide_index=True,
            key="differences",
            column_config=_config(),
        )
    with right:
        chart(
            difference_figure(found, frame.names, column),
            "difference figure",
            lambda: _table(frame, found, None, many=True),
            f"Differences of ROC-AUC on {' '.join(column)} with their intervals of 95 %",
            stem=f"{frame.study}-differences",
        )
    st.caption(
        "ROC-AUC over brain pixels, the best setting of each study, means over its seeds. The "
        "interval of 95 % and the test are over the subjects that both studies tested; where these "
        "are others, there is none. A difference holds if Holm's correction over all test cohorts "
        "and scores lets it stand."
    )
    for name, other in others.items():
        if shared_cohorts(frame.record, other.record).get(column) is False:
            st.caption(
                f"{markdown_text(name)} has other scans of {markdown_text(' '.join(column))}, or "
                "they were prepared otherwise: their data keys differ."
            )


def _table(
    frame: Frame,
    found: Mapping[str, list[Difference]],
    column: tuple[str, str] | None,
    *,
    many: bool,
) -> pa.Table:
    """Differences as a table: of one test cohort, or of all."""
    rows = []
    for name, some in found.items():
        for d in some:
            if column is not None and (d.cohort, d.modality) != column:
                continue
            tested = d.comparison
            rows.append(
                {
                    "Beside": name,
                    "Test cohort": f"{d.cohort} {d.modality}",
                    "Score": frame.names.short_line(d.model, d.score),
                    "Here": d.here,
                    "There": d.other,
                    "Difference": difference_of(d),
                    "Low": tested.low if tested else None,
                    "High": tested.high if tested else None,
                    "p": tested.p if tested else None,
                    "Holds": ("yes" if tested.is_separated else "no") if tested else None,
                }
            )
    table = pa.Table.from_pylist(rows)
    dropped = [] if many else ["Beside"]
    return table.drop_columns(dropped + ([] if column is None else ["Test cohort"]))


def _config() -> dict[str, Any]:
    figure = st.column_config.NumberColumn(format="%.3f")
    signed = st.column_config.NumberColumn(format="%+.3f")
    return {
        "Here": figure,
        "There": figure,
        "Difference": signed,
        "Low": st.column_config.NumberColumn(format="%+.3f", help="Lower end of its 95 %."),
        "High": st.column_config.NumberColumn(format="%+.3f", help="Upper end of its 95 %."),
        "p": st.column_config.NumberColumn(format="%.2g"),
        "Holds": st.column_config.TextColumn(help="Whether Holm's correction lets it stand."),
    }


def _curves(frame: Frame, others: Mapping[str, Frame], column: tuple[str, str]) -> None:
    st.header("Curves", anchor=False)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        where = region()
        every = {"": lines_of(frame, *column, where)}
        every |= {name: lines_of(other, *column, where) for name, other in others.items()}
        ours = every[""]
        theirs = {key for name, some in every.items() if name for key in some}
        shared = {key: line for key, line in ours.items() if key in theirs}
        if not shared:
            st.caption("No line of table 1 has a ROC-AUC in both.")
            return
        chosen = state.select(
            "Model and score",
            "line",
            list(shared),
            default=best_line(shared),
            show=lambda key: shared[key].name,
            width=300,
        )
        log_x = state.toggle("Logarithmic false positive rate", "logx")
    frames = {frame.study: frame, **others}
    compared = []
    for (name, one), some in zip(frames.items(), every.values(), strict=True):
        line = some.get(chosen)
        if line is not None:
            compared.append(Compared(one, _row(one, line), f"{name} {line.setting}".strip()))
    left, right = st.columns(2, gap="large")
    with left:
        roc_together(compared, "studies roc", log_x=log_x)
    with right:
        st.markdown("**Settings of these that differ**")
        settings_apart(compared)
    st.caption("The best setting of each study; of several seeds the first is shown.")


def _row(frame: Frame, line: SubjectLine) -> dict[str, object]:
    """The first seed of a line, with its whole specification."""
    row = line.seeds[0]
    fit = rows_of(frame.view.fits, trial_id=row["trial_id"])
    return {**row, "spec": fit["spec"][0].as_py()}


def _made(frame: Frame, others: Mapping[str, Frame]) -> None:
    st.header("What was done differently", anchor=False)
    names = [frame.study, *others]
    found = made_differently([frame.record, *(other.record for other in others.values())])
    if not found:
        st.caption("Nothing that the records tell: grid, code, packages and data are the same.")
        return
    columns = {"What": [markdown_text(name) for name, _ in found]}
    for place, name in enumerate(names):
        columns[markdown_text(name)] = [markdown_text(values[place]) for _, values in found]
    with st.container(key="made-differently"):
        st.table(pa.table(columns), border="horizontal", hide_index=True)


main()
