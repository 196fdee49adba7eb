"""A Ray cluster of two nodes, one with a GPU that only Ray believes in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from study.records.studies import StudyStore
from tests.commands import Command
from tests.faults.cluster import free_port, has_started, start_words
from tests.heads import write_cohorts
from tests.stores import open_study

pytestmark = pytest.mark.slow

GRID = '''
"""Three networks, a lambda, the baseline."""

from study.grids._grid import Grid, GridSearch, GridTrial

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        *(GridTrial("ae", {"n_c": 8, "n_z": n, "batch_size": 4}, epochs=40) for n in (4, 8, 16)),
    ),
    searches=(GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(0.1,)),),
    phantom_subjects={},
)
'''

WITH_A_STAND_IN = """
import dataclasses, functools, sys
from study.trials import places

real = places.ask_nodes

def ask(ray, nodes, *, cards):
    found = real(ray, nodes, cards=False)
    return [dataclasses.replace(r, card_gib=4.0 if r.node.gpus else 0.0) for r in found]

places.Places.__init__.__kwdefaults__["ask"] = ask
places.card_places = functools.partial(places.card_places, device="cpu")
from study import cli
from study.run.command import app
cli.run(app)
"""
"""A card that is this machine's CPU: what asks for one trains there."""

TRIES = 4
"""A node gives its processes 30 seconds, which a busy machine can miss."""

SMALL = "--object-store-memory=100000000"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-the-tests-alone"}


@pytest.fixture(scope="module")
def head(start: Callable[..., Command], until: Callable[..., None]) -> Iterator[str]:
    """A node that trains nothing."""
    port = free_port()
    command = start(*start_words(port), "--num-cpus=0", SMALL, **TOKEN)
    until(lambda: has_started(command), "a Ray cluster has started")
    yield f"127.0.0.1:{port}"
    command.signal_all(signal.SIGKILL)
    command.wait()
    until(lambda: not command.left_over(), "nothing is left of the head")


@pytest.fixture(scope="module")
def address(start: Callable[..., Command], until: Callable[..., None], head: str) -> Iterator[str]:
    """The same cluster once a node with a CPU and a GPU, and one with a CPU have joined."""
    ray = ("-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", SMALL)
    place = (f"--address={head}", "--num-cpus=1")

    def join(gpus: int) -> Command:
        for _ in range(TRIES):
            node = start(*ray, *place, f"--num-gpus={gpus}", **TOKEN)
            until(
                lambda node=node: has_started(node) or node.status is not None,
                "a node has joined, or has given up",
            )
            if node.status is None:
                return node
        pytest.fail(node.describe())

    nodes = [join(1), join(0)]
    yield head
    for node in nodes:
        node.signal_all(signal.SIGKILL)
        node.wait()
        until(lambda node=node: not node.left_over(), "nothing is left of a node")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "trio.py").write_text(GRID)
    write_cohorts(folder / "scans", 3, 1)
    return folder


@pytest.fixture(scope="module")
def run(start: Callable[..., Command], head: str, folder: Path) -> Callable[..., Command]:
    def begin(study: str, *more: str, code: str = "") -> Command:
        words = ("-c", code) if code else ("-m", "study.run")
        data = ("--grid", folder / "trio.py", "--cohorts", folder / "scans/cohorts.toml")
        place = ("--store", folder / "store", "--study", study, "--address", head)
        return start(*words, *data, *place, *more, **TOKEN)

    return begin


def finished(study: StudyStore) -> dict[str, list[str]]:
    """When the fits of a study were finished, by model."""
    record = study.study()
    assert record is not None
    found: dict[str, list[str]] = {}
    for trial in record.trials:
        fit = study.trial(trial.trial_id).fit()
        assert fit is not None
        found.setdefault(trial.spec.model, []).append(fit.finished)
    return found


def test_a_cluster_that_has_no_cpu_is_waited_for_and_then_told(
    run: Callable[..., Command],
) -> None:
    command = run("nobody", "--wait-for-nodes", "4")
    assert command.wait() == 1, command.describe()
    said = [line for line in command.out.splitlines() if "has a CPU" in line]
    assert said == ["No node of the cluster has a CPU; waiting up to 2 s more."]
    (line,) = command.err.strip().splitlines()
    assert line.startswith("error: no node of the cluster has a CPU (4 s by now); add nodes")


@pytest.mark.usefixtures("address")
def test_all_runs_on_cpus_where_that_is_asked_for(
    run: Callable[..., Command], folder: Path
) -> None:
    command = run("cpus", "--device", "cpu", "--epochs", "2")
    assert command.wait() == 0, command.describe()
    assert "5 of 5 trials done, 0 failed" in command.out
    copies = open_study(folder / "store", "cpus").copies()
    assert sorted(copy.n_slices for copy in copies) == sorted({c.n_slices for c in copies})


@pytest.mark.usefixtures("address")
def test_a_gpu_that_torch_cannot_use_is_one_sentence(run: Callable[..., Command]) -> None:
    command = run("auto")
    assert command.wait() == 1, command.describe()
    (line,) = command.err.strip().splitlines()
    assert line.startswith("error: Ray counts a GPU on ")
    assert line.endswith("or run the study with --device cpu")


@pytest.mark.usefixtures("address")
def test_what_needs_no_card_runs_on_the_other_node_while_networks_train(
    run: Callable[..., Command], folder: Path
) -> None:
    command = run("beside", code=WITH_A_STAND_IN)
    assert command.wait() == 0, command.describe()
    ends = finished(open_study(folder / "store", "beside"))
    assert {name: len(stamps) for name, stamps in ends.items()} == {
        "ae": 3,
        "gmm": 1,
        "intensity": 1,
    }
    assert max(*ends["gmm"], *ends["intensity"]) < max(ends["ae"])


def test_an_autoscaler_sees_that_trials_wait(
    run: Callable[..., Command], address: str, until: Callable[..., None]
) -> None:
    command = run("waiting", "--device", "cpu", "--seeds", "8")
    seen: list[int] = []

    def waits() -> bool:
        seen.append(demand(address))
        return seen[-1] >= 8

    until(waits, "eight trials wait at Ray")
    command.kill_group()
    until(lambda: not command.left_over(), "nothing is left of the driver")


def demand(address: str) -> int:
    """How many placements of one CPU ``ray status`` says are asked for and not there."""
    status: Any = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | TOKEN,
    )
    found = re.findall(r"\): (\d+)\+ pending placement groups", status.stdout)
    return sum(int(count) for count in found)
