"""What the browser fetches while the first page is being read, so that later pages need not wait.

Streamlit sends the code of each kind of element to the browser when a page has the first of its
kind: nearly 5 MB for figures. The same files are asked for, one after the other, once the first
page is drawn and the browser has nothing else to do.
"""

from __future__ import annotations

import json
from pathlib import Path

import streamlit

KINDS = (
    *("PlotlyChart", "DataFrame", "Slider", "Multiselect", "TextInput", "ButtonGroup", "Button"),
    *("DownloadButton", "PageLink", "BidiComponent", "Selectbox", "Spinner"),
)
"""Elements of later pages by the names of their files; one that Streamlit calls otherwise some day
is fetched when it is wanted."""

_SCRIPT = """
if (window.hasFetchedAhead === undefined) {
  window.hasFetchedAhead = false;
  const isDrawn = () =>
    document.querySelector('[data-testid="stApp"][data-test-script-state="notRunning"]') &&
    !document.querySelector('[data-testid="stSkeleton"]');
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const idle = () =>
    new Promise((resolve) =>
      window.requestIdleCallback ? requestIdleCallback(resolve) : setTimeout(resolve, 200),
    );
  const fetchAhead = async (names) => {
    const own = document.querySelector('script[type="module"][src*="static/js/"]');
    for (let tries = 0; tries < 120 && !isDrawn(); tries++) await pause(250);
    for (const name of own ? names : []) {
      await idle();
      await import(new URL(name, own.src).href).catch(() => {});
    }
    window.hasFetchedAhead = true;
  };
  fetchAhead(NAMES);
}
"""


def fetching_script() -> str:
    """JavaScript that fetches, once a visit, the code of all kinds of elements."""
    folder = Path(streamlit.__file__).parent / "static" / "static" / "js"
    names = [file.name for kind in KINDS for file in sorted(folder.glob(f"{kind}.*.js"))]
    return _SCRIPT.replace("NAMES", json.dumps(names))
