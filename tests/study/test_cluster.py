"""Ray of this process alone: workers at its priority, arithmetic asked of the nodes that train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trainables.arithmetic import fast_precision

pytestmark = pytest.mark.slow

CODE = """
import os
from study.cluster import connection
from study.trials.places import Places

os.environ.pop("RAY_worker_niceness", None)  # nothing but what the project sets itself
os.nice(3)
connection.configure(verbose=False)
with connection.connected(None, verbose=False) as ray:
    niceness = ray.get(ray.remote(lambda: __import__("os").nice(0)).remote())
    print("niceness", niceness, "arithmetic", *Places(ray, "auto", may_grow=True).precisions)
"""


@pytest.mark.parametrize(
    "limits", [{}, {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}]
)
def test_workers_have_the_drivers_priority_and_tell_their_arithmetic(
    start: Callable[..., Any], limits: dict[str, str]
) -> None:
    command = start("-c", CODE, **limits)
    assert command.wait() == 0, command.describe()
    expected = "float32" if limits else fast_precision("cpu")
    assert command.out.strip().splitlines()[-1] == f"niceness 3 arithmetic {expected}"
