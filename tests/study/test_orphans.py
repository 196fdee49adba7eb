"""What a killed driver leaves behind: ended if it is an agent of Ray's, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.cluster.orphans import end_orphans
from study.cluster.processes import is_running

WAIT = "import signal; signal.pause()"
PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, sys.argv[-1]], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.read()
"""

Family = tuple["subprocess.Popen[str]", int]


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Callable[[str, str], Family]]:
    """Starts a parent of one name with a child of another, both of which wait."""
    started: list[Family] = []

    def start(parent: str, child: str) -> Family:
        for name, code in ((parent, PARENT), (child, WAIT)):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(code)
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / parent), str(tmp_path / child)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        started.append((process, int(process.stdout.readline())))
        return started[-1]

    yield start
    for process, child in started:
        subprocess.run(["kill", "-9", str(child)], capture_output=True, check=False)
        process.kill()
        process.communicate()


def test_agents_without_a_raylet_are_ended_and_nothing_else(
    family: Callable[[str, str], Family],
) -> None:
    agent = "site/ray/dashboard/agent.py"
    raylet, served = family("ray/core/src/ray/raylet/raylet", agent)
    _, other = family("driver.py", "site/ray/other.py")
    _, orphan = family("shell.py", agent)
    end_orphans()
    assert not is_running(orphan)
    assert is_running(served)
    assert is_running(other)
    assert raylet.poll() is None
