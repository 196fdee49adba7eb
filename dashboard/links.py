"""Addresses of the dashboard's pages, with the store and the study in them."""

from __future__ import annotations

from urllib.parse import urlencode

from dashboard import state
from dashboard.frame import Frame


def choices(page: str, **chosen: str | list[str]) -> dict[str, str | list[str]]:
    """What ``st.page_link`` adds to the address, which has the store and the study already.

    Args:
        page: Name of the page, such as ``trial``.
        **chosen: What is chosen there, as its widgets show it.
    """
    return {state.key(name, page): value for name, value in chosen.items()}


def page_url(frame: Frame, page: str, **chosen: str | list[str]) -> str:
    """A relative address of a page, such as ``trial?store=runs&study=paper&trial.trial=...``."""
    place = {"store": frame.store, "study": frame.study, **choices(page, **chosen)}
    return f"{page}?{urlencode(place, doseq=True)}"
