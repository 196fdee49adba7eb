"""The dashboard: ``streamlit run dashboard/app.py -- --store URI``.

Every page shows the study that is picked in the row on top, which is drawn here. Pages are files
below ``pages/``; they only run when there is a study to show.
"""

from __future__ import annotations

import sys

import streamlit as st

from dashboard import frame, state
from dashboard.navigation import register_pages
from dashboard.options import parse_options


def main() -> None:
    """Draw the frame and run the page that the address names."""
    st.set_page_config(page_title="Anomaly study", page_icon=":material/neurology:", layout="wide")
    st.html(frame.STYLE)
    page = register_pages()
    state.forget_strangers()
    if frame.choose_study(parse_options(sys.argv[1:])) is not None:
        page.run()


main()
