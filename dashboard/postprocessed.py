"""The best settings after post-processing, beneath table 1."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import streamlit as st

from dashboard.text import markdown_text
from study.records.names import Names
from study.report.postprocessed import Postprocessed
from study.report.postprocessed_table import (
    CHOSEN_BEFORE,
    HEADS,
    N_WORDS,
    TITLE,
    postprocessed_lines,
)


def after_postprocessing(cells: Sequence[Postprocessed], names: Names) -> None:
    """Draw the cells with and without post-processing; nothing where there are none.

    Args:
        cells: From :func:`study.report.postprocessed.postprocessed_cells`.
        names: What models and scores are called.
    """
    if not cells:
        return
    st.header(TITLE, anchor=False)
    lines = (line.texts() for line in postprocessed_lines(cells, names))
    rows = [[*map(markdown_text, texts[:N_WORDS]), *texts[N_WORDS:]] for texts in lines]
    columns = dict(zip(HEADS, map(list, zip(*rows, strict=True)), strict=True))
    with st.container(key="after-postprocessing"):
        st.table(
            pa.table(columns),
            border="horizontal",
            hide_index=True,
            alt="Figures of the best settings before and after post-processing",
        )
    st.caption(CHOSEN_BEFORE)
