"""An arena for all kills, and one Ray cluster for the studies that nobody kills."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import Command
from tests.faults.cluster import free_port, has_started, start_words
from tests.faults.kills import Arena
from tests.grids import TINY, run_words

Start = Callable[..., Command]


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    return Arena(tmp_path_factory.mktemp("arena"))


@pytest.fixture(scope="session")
def address(start: Start, until: Callable[..., None]) -> Iterator[str]:
    """A Ray cluster of two cores; starting none for each study saves their time."""
    port = free_port()
    cluster = start(*start_words(port))
    until(lambda: has_started(cluster), "a Ray cluster has started")
    yield f"127.0.0.1:{port}"
    cluster.process.terminate()
    cluster.wait()
    until(lambda: not cluster.left_over(), "nothing is left of the cluster")


@pytest.fixture(scope="session")
def tiny(start: Start, address: str) -> Callable[..., Command]:
    """Runs the tiny study of the cohorts in ``FOLDER/scans`` into ``FOLDER/store``."""

    def run(
        folder: Path,
        *more: str,
        grid: str = TINY,
        before: str = "",
        status: int = 0,
        **environment: str,
    ) -> Command:
        words = run_words(folder, "tiny", grid, before)
        cohorts = ("--cohorts", folder / "scans/cohorts.toml")
        place = () if "--address" in more else ("--address", address)
        command = start(*words, *cohorts, "--store", folder / "store", *place, *more, **environment)
        assert command.wait() == status, command.describe()
        return command

    return run
