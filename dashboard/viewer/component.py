"""The viewer as an element of a page.

It is our own, in plain JavaScript on canvases. The viewer niivue, by way of niivue-streamlit 0.3.0,
was looked at and is not used: from Python one sets an overlay's colour map and opacity, but no
threshold and no window; each volume has a frame of its own, so that two models cannot share a
crosshair; what is set lives in that frame, where no link reaches it; and it brings 3.5 MB of code.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from dashboard.viewer.payload import Scene, packed

if TYPE_CHECKING:
    from streamlit.components.v2.types import ComponentRenderer

SCRIPTS = ("scene.js", "painting.js", "settings.js", "controls.js", "viewer.js")
"""Joined in this order they are one module."""


def show_scene(scene: Scene, *, key: str) -> None:
    """Draw a scene. Everything that is done to it from there on is done in the browser.

    Args:
        scene: The scan and its scores.
        key: Names this place on the page; another scene shown there keeps the settings.
    """
    _component()(key=key, data=packed(scene))


@cache
def _component() -> ComponentRenderer:
    folder = Path(__file__).parent

    def text(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    return st.components.v2.component(
        "volume_viewer",
        html=text("viewer.html"),
        css=text("viewer.css"),
        js="\n".join(text(name) for name in SCRIPTS),
    )
