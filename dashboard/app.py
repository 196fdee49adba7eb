"""The dashboard: ``streamlit run dashboard/app.py -- --store URI``.

What the server answers, and to whom, is decided in ``dashboard.hosts``, in front of all of it.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from dashboard.hosts import LOOPBACK, HostCheck
from dashboard.options import parse_options
from dashboard.warmup import warm_up

_OPTIONS = parse_options(sys.argv[1:])


@asynccontextmanager
async def _serving(_: st.App) -> AsyncIterator[None]:
    warm_up(_OPTIONS)
    yield


app = st.App(
    Path(__file__).with_name("main.py"),
    lifespan=_serving,
    middleware=[Middleware(HostCheck, names=(*LOOPBACK, *_OPTIONS.hosts))],
)
