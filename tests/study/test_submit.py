"""Studies as jobs of a real cluster with its job server, which wants a token."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Command
from tests.faults.cluster import free_port, has_started, start_words

pytestmark = pytest.mark.slow

HIDDEN = "aValueThatNobodyIsToSee"

BEGIN = """
import sys
from pathlib import Path
from study.cluster import connection
from study.cluster.code import staged_code
from study.cluster.environment import packed
from study.submit.client import JobServer

url, name, script = sys.argv[1:]
connection.configure(verbose=False, address=url)
server = JobServer(url)
server.check_version()
files = {"job.py": Path(script).read_bytes(), **packed({"MY_SECRET": "VALUE"})}
with staged_code(files) as code:
    server.submit(name, "python submitted/job.py", code)
""".replace("VALUE", HIDDEN)

LOOK = """
import os, sys
from pathlib import Path
import study
from study.cluster import connection
from study.cluster.environment import load_sent

load_sent()
print("code is sent:", Path(study.__file__).parents[1] == Path.cwd())
print("beside it:", *sorted(p.name for p in Path.cwd().iterdir()))
connection.configure(verbose=False)
with connection.connected(None, verbose=False) as ray:

    @ray.remote(num_cpus=0)
    def of_worker():
        import study
        from study.cluster.environment import load_sent
        load_sent()
        return len(os.environ["MY_SECRET"]), study.__file__

    length, place = ray.get(of_worker.remote())
print("driver and worker have it:", len(os.environ["MY_SECRET"]), length)
print("worker has the code:", Path(place).name == "__init__.py")
sys.exit(3)
"""

LONG = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
print("begun", flush=True)
while True: signal.pause()
"""

GRID = """
from study.grids._grid import Grid, GridTrial
GRID = Grid(trials=(GridTrial("intensity"),), searches=(), phantom_subjects={"ixi": 2, "brats": 2})
"""

QUICK_TO_GIVE_UP = """
import sys
from study.submit import client
client.PAUSES_S = (0.1, 0.1)
from study import cli
from study.submit.command import app
cli.run(app)
"""

Submit = Callable[..., Command]


@dataclass
class Cluster:
    head: Command
    url: str
    environment: dict[str, str]

    @property
    def session(self) -> str:
        """The folder of what Ray writes on this machine."""
        found = re.search(r"(/\S+/session_[^/]+)/logs", self.head.out)
        assert found is not None, self.head.describe()
        return found[1]


@pytest.fixture(scope="module")
def cluster(
    start: Callable[..., Command],
    until: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "token").write_text("t" * 40)
    port = free_port()
    environment = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }
    options = {"--include-dashboard=false": "--include-dashboard=true"}
    words = [options.get(word, word) for word in start_words(free_port())]
    ports = (f"--dashboard-port={port}", f"--dashboard-agent-listen-port={free_port()}")
    head = start(*words, *ports, **environment)
    until(lambda: has_started(head) or head.status is not None, "the cluster is up")
    assert head.status is None, head.describe()
    yield Cluster(head, f"http://127.0.0.1:{port}", environment)
    head.signal_all(signal.SIGKILL)
    head.wait()
    until(lambda: not head.left_over(), "the cluster has ended")


@pytest.fixture(scope="module")
def submit(cluster: Cluster, start: Callable[..., Command]) -> Submit:
    """Starts ``study.submit`` with some words."""

    def begin(*words: str | Path, code: str = "", **environment: str) -> Command:
        module = ("-c", code) if code else ("-m", "study.submit")
        options = ("--job-server", cluster.url, *words)
        return start(*module, *options, **cluster.environment | environment)

    return begin


@pytest.fixture(scope="module")
def begin_job(
    cluster: Cluster, start: Callable[..., Command], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], None]:
    """Sends a script as a job."""

    def begin(name: str, script: str) -> None:
        path = tmp_path_factory.mktemp("scripts") / f"{name}.py"
        path.write_text(script)
        command = start("-c", BEGIN, cluster.url, name, path, **cluster.environment)
        assert command.wait() == 0, command.describe()

    return begin


def _ended(command: Command, status: int) -> Command:
    assert command.wait() == status, command.describe()
    assert "Traceback" not in command.err
    return command


def test_a_job_has_the_code_the_variables_and_its_own_exit_status(
    submit: Submit, begin_job: Callable[[str, str], None]
) -> None:
    begin_job("looks", LOOK)
    followed = _ended(submit("--follow", "looks"), 3)
    for line in (
        "code is sent: True",
        "beside it: dashboard datasets pyproject.toml study submitted trainables",
        f"driver and worker have it: {len(HIDDEN)} {len(HIDDEN)}",
        "worker has the code: True",
    ):
        assert line in followed.out.splitlines(), followed.describe()
    assert "study.run has ended with status 3" in followed.err
    assert HIDDEN not in followed.out + followed.err


def test_what_is_sent_in_a_variable_is_in_no_log_of_ray(
    cluster: Cluster, submit: Submit, begin_job: Callable[[str, str], None]
) -> None:
    begin_job("logged", LOOK)
    _ended(submit("--follow", "logged"), 3)
    logs = Path(cluster.session) / "logs"
    files = [path for path in logs.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path for path in files if HIDDEN.encode() in path.read_bytes()] == []


def test_a_study_with_a_grid_of_ones_own_is_sent_and_followed_to_its_end(
    submit: Submit, tmp_path: Path
) -> None:
    grid = tmp_path / "our_grid.py"
    grid.write_text(GRID)
    words = ("--grid", grid, "--store", tmp_path / "store", "--dry-run", "--env", "MY_SECRET")
    command = _ended(submit(*words, MY_SECRET=HIDDEN, RAY_ADDRESS="192.0.2.1:1"), 0)
    lines = command.out.splitlines()
    assert lines[0].startswith("submitted as study-")
    assert "study: our_grid-phantom" in lines
    assert f"store: {tmp_path / 'store'}" in lines
    assert HIDDEN not in command.out + command.err
    assert "INFO sdk" not in command.err


def test_a_job_outlives_who_follows_it_and_is_stopped_by_its_name(
    submit: Submit, begin_job: Callable[[str, str], None], until: Callable[..., None]
) -> None:
    begin_job("long", LONG)
    follower = submit("--follow", "long")
    until(lambda: "begun" in follower.out or follower.status is not None, "the job has begun")
    follower.process.send_signal(signal.SIGINT)
    _ended(follower, 130)
    assert "The job long runs on." in follower.err
    assert "--follow long" in follower.err
    assert "--stop long" in follower.err
    (line,) = _ended(submit("--status", "long"), 0).out.splitlines()
    assert line.startswith("long: RUNNING since 20")
    assert HIDDEN not in line
    assert "stopped job long" in _ended(submit("--stop", "long"), 0).out


def test_a_wrong_token_is_a_sentence_that_names_where_it_came_from(submit: Submit) -> None:
    command = _ended(submit("--status", "x", RAY_AUTH_TOKEN="w" * 40), 1)
    assert "the token of RAY_AUTH_TOKEN is not the cluster's" in command.err
    assert "w" * 10 not in command.err


def test_a_head_that_dies_is_told_with_the_command_to_go_on(
    cluster: Cluster,
    submit: Submit,
    begin_job: Callable[[str, str], None],
    until: Callable[..., None],
) -> None:
    begin_job("last", LONG)
    follower = submit("--follow", "last", code=QUICK_TO_GIVE_UP)
    until(lambda: "begun" in follower.out or follower.status is not None, "the job has begun")
    cluster.head.signal_all(signal.SIGKILL)
    _ended(follower, 1)
    sentence: Any = follower.err.strip().splitlines()
    assert len(sentence) == 1
    assert f"--job-server {cluster.url} --follow last" in sentence[0]
