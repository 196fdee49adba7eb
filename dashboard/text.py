"""Names from a store as text: what they look like is never what they do.

Streamlit reads Markdown in many places and plotly reads a little HTML everywhere, so a name goes
through one of these two before it is shown there.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from study.records.names import Names

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~:$&^=@/])")


def markdown_text(name: object) -> str:
    """A name for places that read Markdown: every sign that could mean something is escaped."""
    flat = " ".join(str(name).split())
    return _MARKDOWN.sub(r"\\\1", flat)


def plot_text(name: object) -> str:
    """A name for plotly, which reads ``<b>``, ``<a href>`` and entities in any text."""
    return html.escape(" ".join(str(name).split()), quote=False)


def curve_text(names: Names, row: Mapping[str, Any]) -> str:
    """What a result is called among many, such as ``VAE E (8, 64) seed 1 · 3f2a91c0``."""
    seed = f"seed {row['seed']}" if row["seed"] else ""
    name = f"{names.short_line(row['model'], row['score'])} {row['setting'] or ''} {seed}"
    return f"{' '.join(name.split())} · {row['trial_id'][:8]}"


def figure_text(value: float | None, digits: int = 3) -> str:
    """A figure of a table, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"
