"""Trials that fail: retried where that makes sense, else a record; the study goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from study.records.types import FitRecord
from tests.commands import Command
from tests.heads import write_cohorts
from tests.plugins import FAILING, install
from tests.stores import open_study, unnamed

pytestmark = pytest.mark.slow

GRID = '''
"""Trials that run out of memory or lose their processes, beside one that does not."""

from study.grids._grid import Grid, GridTrial

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        *(GridTrial("failing", {"how": how}) for how in HOWS),
    ),
    searches=(),
    phantom_subjects={},
)
'''


def _fits(folder: Path) -> dict[str, list[FitRecord]]:
    study = open_study(folder / "store", "s")
    found: dict[str, list[FitRecord]] = {}
    for name in study.storage.names("trials"):
        fit = study.trial(name).fit()
        assert fit is not None
        found.setdefault(fit.spec.params.get("how", "intensity"), []).append(fit)
    return found


def test_too_little_memory_is_tried_once_more_alone_and_a_lost_worker_again(
    tiny: Callable[..., Command], tmp_path: Path
) -> None:
    write_cohorts(tmp_path / "scans", 2, 1)
    hows = ("crowded", "crowded too", "starved", "dying once", "dying")
    log = tmp_path / "log"
    environment = install(tmp_path, failing=FAILING) | {"FAILING_LOG": str(log)}

    # Ray of this command's own: a cluster's processes do not see its environment
    grid = GRID.replace("HOWS", repr(hows))
    first = tiny(tmp_path, "--address", "local", grid=grid, status=3, **environment)
    assert "4 of 6 trials done, 2 failed" in first.out
    assert "Traceback" not in first.out + first.err
    fits = _fits(tmp_path)
    assert {how: {f.status for f in fits[how]} for how in fits} == {
        "intensity": {"done"},
        "crowded": {"done"},
        "crowded too": {"done"},
        "dying once": {"done"},
        "starved": {"failed"},
        "dying": {"failed"},
    }
    for how, kind in (("starved", "MemoryError"), ("dying", "LostWorkerError")):
        for fit in fits[how]:
            assert fit.failure is not None
            assert fit.failure.kind == kind
            assert fit.failure.traceback
    _check_alone(log.read_text().splitlines())
    assert unnamed(tmp_path / "store") == []


def _check_alone(lines: list[str]) -> None:
    """The last tries of all that was crowded have nothing beside them; the first ones had."""
    begins = [i for i, line in enumerate(lines) if line.startswith('begin ["crowded')]
    assert len(begins) == 4  # two trials, twice each
    for i in begins[2:]:
        mine = lines[i].removeprefix("begin ")
        assert lines[i + 1] == f"end {mine}", "another trial began beside it"
    starved = [line for line in lines if line.startswith('begin ["starved"')]
    assert len(starved) == 2
    dying = [line for line in lines if line.startswith('begin ["dying",')]
    assert len(dying) == 1 + 3 + 1  # three times again, then once alone
