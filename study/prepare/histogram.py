"""A small histogram of volumes, drawn by hand as SVG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from study.prepare.page_parts import ml
from study.terminal import counted

_BINS = 24


def histogram(values: Sequence[float], name: str) -> Markup:
    """A small histogram of volumes in ml as SVG; equal ones make one bar in the middle.

    Args:
        values: The volumes in ml.
        name: What they are volumes of, without signs that mean something in HTML.
    """
    if not values:
        return Markup()
    low, high = min(values), max(values)
    if low == high:
        low, high = max(low - 1, 0.0), high + 1
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    width, height = 280 / _BINS, 80
    bars = "".join(
        f'<rect x="{5 + i * width:.1f}" y="{5 + height * (1 - n / counts.max()):.1f}" '
        f'width="{width - 1:.1f}" height="{height * n / counts.max():.1f}"><title>{int(n)} from '
        f"{ml(edges[i])} to {ml(edges[i + 1])} ml</title></rect>"
        for i, n in enumerate(counts)
        if n
    )
    return Markup(
        f'<svg class="histogram" viewBox="0 0 290 102" role="img" aria-label="{name} of '
        f'{counted(len(values), "scan")}, from {ml(low)} to {ml(high)} ml">'
        f'<line x1="5" x2="285" y1="85.5" y2="85.5"/>{bars}<text x="5" y="98">{ml(low)}</text>'
        f'<text x="285" y="98" text-anchor="end">{ml(high)}</text></svg>'
    )
