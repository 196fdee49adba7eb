"""What the browser fetches while the first page is being read, so that later pages need not wait.

Streamlit sends the code of each kind of element to the browser when a page has the first of its
kind: nearly 5 MB for figures. One of each is put, unseen, below the first page of a visit.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from dashboard.map_charts import TRUTH_COLOUR, MapPanel, map_row

FETCHED = "fetched ahead"
"""In the state of a visit whose browser has all of it."""


def fetch_ahead() -> None:
    """Put one of each kind of element, unseen, below the first page of a visit."""
    if FETCHED in st.session_state:
        return
    st.session_state[FETCHED] = True
    with st.container(key="unseen"):
        st.plotly_chart(smallest_figure(), key="unseen figure")
        st.dataframe({"unseen": [0]}, key="unseen table")
        st.slider("Unseen", 0, 1, key="unseen slider")
        st.multiselect("Unseen", ["unseen"], key="unseen choices")
        st.text_input("Unseen", key="unseen text")
        st.segmented_control("Unseen", ["unseen"], key="unseen switch")
        st.page_link("views/study.py", label="Unseen")
        st.button("Unseen", key="unseen button")
        st.download_button("Unseen", "", key="unseen download")


def smallest_figure() -> go.Figure:
    """A figure with a bit of everything that the pages' figures have."""
    values = np.zeros((2, 2), np.float32)
    border = ((0.0, 1.0), (0.0, 1.0), TRUTH_COLOUR)
    image = MapPanel("image", values, "image", 0.0, 1.0, (border,), grey=True)
    figure = map_row([image, MapPanel("score", values, "score", 0.0, 1.0)])
    return figure.add_shape({"x0": 0, "x1": 1, "y0": 0, "y1": 1})
