"""Addresses of other pages of the dashboard."""

from __future__ import annotations

from urllib.parse import urlencode

from dashboard.frame import Frame


def page_url(frame: Frame, page: str, **address: str) -> str:
    """A relative address of a page with the study in it."""
    return f"{page}?{urlencode({'study': frame.study, **address})}"
