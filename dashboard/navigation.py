"""The pages of the dashboard, by file name."""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import StreamlitPage

PAGES = (
    ("study", "Study", ":material/monitoring:"),
    ("best", "Best", ":material/table_chart:"),
    ("subjects", "Subjects", ":material/groups:"),
    ("viewer", "Viewer", ":material/view_in_ar:"),
    ("roc", "ROC", ":material/show_chart:"),
    ("heatmaps", "Heatmaps", ":material/neurology:"),
    ("grid", "Grid", ":material/grid_on:"),
    ("settings", "Settings", ":material/tune:"),
    ("trials", "Trials", ":material/leaderboard:"),
    ("trial", "Trial", ":material/biotech:"),
    ("compare", "Compare", ":material/compare_arrows:"),
    ("data", "Data", ":material/radiology:"),
)


FIRST = "study"
"""The page of an address that names none."""


def register_pages() -> StreamlitPage:
    """Tell Streamlit which pages there are; returns the one that the address names."""
    return st.navigation(
        [
            st.Page(
                f"views/{name}.py", title=title, icon=icon, url_path=name, default=name == FIRST
            )
            for name, title, icon in PAGES
        ],
        position="top",
    )
