"""The Slurm script as Slurm runs it on a job of one node."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import ROOT, Command
from tests.faults.cluster import free_port
from tests.heads import write_cohorts

pytestmark = pytest.mark.slow

_RUN = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"


class Job:
    """A checkout with a ``.venv``, a user's home, and the two programs of Slurm that are asked."""

    def __init__(self, folder: Path, start: Callable[..., Command], number: int) -> None:
        self._start, self.number = start, number
        self.checkout, self.home, programs = (folder / x for x in ("checkout", "home", "bin"))
        for made in (self.checkout, self.home, programs):
            made.mkdir()
        (self.checkout / ".venv").symlink_to(Path(sys.prefix))
        scontrol = programs / "scontrol"
        scontrol.write_text("#!/bin/sh\necho localhost\n")
        scontrol.chmod(0o755)
        self._path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(self, *options: str) -> Command:
        """Start the job."""
        own = {"SLURM_JOB_ID": str(self.number), "SLURM_JOB_NODELIST": "localhost"}
        own |= {"SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_NODE": "1000"}
        own |= {"SLURM_SUBMIT_DIR": str(self.checkout), "HOME": str(self.home)}
        own |= {"PATH": self._path, "PYTHONPATH": str(ROOT)}
        return self._start("-c", _RUN, "bash", ROOT / "infra/slurm.sbatch", *options, **own)

    def left(self) -> list[Path]:
        """What it has made beside the study."""
        folder = Path(f"/tmp/ray-{self.number}")
        return [*self.checkout.glob(".slurm-*"), *([folder] if folder.exists() else [])]


@pytest.fixture
def job(tmp_path: Path, start: Callable[..., Command]) -> Job:
    """A number whose block of ports nobody uses."""
    first = free_port()
    for number in range(first, first + 90):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", 10000 + number % 90 * 250)) != 0:
                return Job(tmp_path, start, number)
    pytest.skip("every block of ports is taken")


def test_a_job_runs_beside_the_token_of_another_cluster(job: Job, tmp_path: Path) -> None:
    token = job.home / ".ray/auth_token"
    token.parent.mkdir()
    token.write_text("0" * 64)
    cohorts = write_cohorts(tmp_path / "scans", 2, 1)
    options = ("--grid", "smoke", "--epochs", "1", "--precision", "float32")
    command = job.run(*options, "--cohorts", str(cohorts), "--store", str(tmp_path / "store"))
    assert command.wait() == 0, command.describe()
    assert "6 of 6 trials done, 0 failed" in command.out
    assert token.read_text() == "0" * 64
    assert job.left() == []


def test_a_job_without_any_token_makes_one_and_ends_with_the_studys_status(job: Job) -> None:
    command = job.run("--grid", "nosuch")
    assert command.wait() == 2, command.describe()
    assert "unknown grid 'nosuch'" in command.err
    assert not (job.home / ".ray").exists()
    assert job.left() == []


def test_a_head_that_cannot_start_ends_the_job(job: Job) -> None:
    with socket.create_server(("", 10000 + job.number % 90 * 250)):
        command = job.run("--grid", "smoke")
        assert command.wait(60) == 1, command.describe()
    assert "error: Ray cannot start here, at port" in command.err
    assert "Traceback" not in command.err
    assert job.left() == []
