"""What the first visitor need not wait for: done while the server starts.

Loading what draws pages takes half a second, reading ten thousand records as long again; both end
up where the pages look for them. Whatever goes wrong here goes wrong again when a page asks for it,
and is said there.
"""

from __future__ import annotations

import gc
import importlib
import pkgutil
import threading
from contextlib import suppress

import dashboard
from dashboard.options import DashboardOptions

_MODULES = ("dashboard.frame", "dashboard.map_charts", "dashboard.slices", "pyarrow.acero")

_STARTS = ("dashboard.app", "dashboard.main", "dashboard.views")
"""What runs when it is loaded."""


PATIENCE_S = 3.0
"""How long a server waits for a slow store before it answers; the rest is done meanwhile."""


def warm_up(options: DashboardOptions) -> None:
    """Load the pages' modules and the study that is shown first; returns after a while anyway."""
    work = threading.Thread(target=_warm_up, args=(options,), name="warm-up", daemon=True)
    work.start()
    work.join(PATIENCE_S)


def _warm_up(options: DashboardOptions) -> None:
    for module in _MODULES:
        importlib.import_module(module)
    from dashboard.data import list_studies, open_study, table_of

    with suppress(OSError, ValueError):
        uri = next(iter(options.stores.values()))
        studies = list_studies(uri).studies
        name = options.study if options.study in studies else next(iter(studies), None)
        if name is not None:
            view = open_study(uri, name).view()
            table_of(uri, name, view.version, "auc", "brain", view)
    for found in pkgutil.iter_modules(dashboard.__path__, "dashboard."):
        if found.name not in _STARTS:
            importlib.import_module(found.name)
    _draw_once()
    # Streamlit collects garbage after every run, before its last messages leave: looking through
    # modules and records that stay anyway takes a fifth of a second each time.
    gc.collect()
    gc.freeze()


def _draw_once() -> None:
    """Make a figure with a bit of everything: plotly loads its parts with the first of each."""
    import numpy as np

    from dashboard.map_charts import TRUTH_COLOUR, MapPanel, map_row

    values = np.zeros((2, 2), np.float32)
    border = ((0.0, 1.0), (0.0, 1.0), TRUTH_COLOUR)
    image = MapPanel("image", values, "image", 0.0, 1.0, (border,), grey=True)
    figure = map_row([image, MapPanel("score", values, "score", 0.0, 1.0)])
    figure.add_shape({"x0": 0, "x1": 1, "y0": 0, "y1": 1}).to_json()
