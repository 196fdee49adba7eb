"""Job servers that break, forget or are something else: always a sentence and a status."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.errors import UsageError
from study.submit import client
from study.submit.client import JobServer, LostError, UnknownJobError
from study.submit.command import _exit_status, _follow, _stop
from study.submit.server import check_url
from study.submit.submission import environment, make_submission
from tests.jobservers import Head, job, serving

# Ray's own client of WebSockets.
pytestmark = pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning")

LOG = "".join(f"line {i}\n" for i in range(40))


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    monkeypatch.setattr(client, "PAUSES_S", (0.0, 0.0, 0.0))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")  # which the client must not believe
    with serving() as found:
        found.jobs["a-job"] = job()
        found.log = LOG
        yield found


def _read(head: Head) -> tuple[str, client.JobInfo]:
    pieces: list[str] = []
    info = JobServer(head.url).follow("a-job", pieces.append)
    return "".join(pieces), info


def test_a_log_that_is_cut_again_and_again_is_handed_on_once(head: Head) -> None:
    head.cut = [5, 5, 60, 3, 100, 100]
    head.end(status="FAILED", driver_exit_code=3)
    text, info = _read(head)
    assert text == LOG
    assert (info.status, info.exit_code) == ("FAILED", 3)
    assert head.n_tails == 7


def test_a_log_that_ends_before_its_job_is_asked_for_again(head: Head) -> None:
    with pytest.raises(LostError, match="the log has ended, and the job has not"):
        _read(head)
    assert head.n_tails == 1 + len(client.PAUSES_S)


def test_a_head_that_is_lost_ends_with_the_command_to_go_on(
    head: Head, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head.cut = [20] * 99
    server = JobServer(head.url)
    with pytest.raises(ConnectionError) as caught:
        _follow(server, "a-job", is_new=True)
    message = str(caught.value)
    assert f"python -m study.submit --job-server {head.url} --follow a-job" in message
    assert "the same submission goes on from the study's store" in message
    assert capsys.readouterr().out == LOG[:20]


def test_a_head_that_was_started_anew_knows_the_job_no_more(head: Head) -> None:
    head.cut, head.forgets = [20], True
    with pytest.raises(ConnectionError, match=r"knows the job a-job no more: .* started anew"):
        _follow(JobServer(head.url), "a-job")
    assert head.n_tails == 1, "it is told at once"


def test_a_job_that_was_just_begun_and_is_forgotten_is_no_wrong_use(head: Head) -> None:
    head.jobs.clear()
    with pytest.raises(ConnectionError, match="the same submission goes on"):
        _follow(JobServer(head.url), "a-job", is_new=True)


def test_a_job_that_is_refused_is_told(head: Head, tmp_path: Path) -> None:
    head.refuses = "no such field: 'x'"
    (tmp_path / "x.py").touch()
    with pytest.raises(ConnectionError, match=r"took no job: .*no such field"):
        JobServer(head.url).submit("a-job", "x", tmp_path)


def test_a_job_that_nobody_knows_is_wrong_use(head: Head) -> None:
    server = JobServer(head.url)
    for name in ("another", "../../etc", "a b", ""):
        for ask in (
            lambda name=name: server.info(name),
            lambda name=name: server.stop(name),
            lambda name=name: _follow(server, name),
        ):
            with pytest.raises(UnknownJobError):
                ask()


@pytest.mark.parametrize(
    ("answer", "status", "says"),
    [
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, 0, ""),
        ({"status": "STOPPED"}, 130, "job a-job was stopped"),
        ({"status": "FAILED", "driver_exit_code": 3}, 3, "some trials or scans failed"),
        ({"status": "FAILED", "driver_exit_code": 2}, 2, "has ended with status 2"),
        ({"status": "FAILED", "driver_exit_code": 130}, 130, "has ended with status 130"),
        ({"status": "FAILED", "driver_exit_code": -9}, 1, "ended by signal 9"),
        ({"status": "FAILED", "message": "no env\nTraceback\nbad zip"}, 1, "no env … bad zip"),
    ],
)
def test_the_exit_status_is_that_of_the_study(
    head: Head,
    capsys: pytest.CaptureFixture[str],
    answer: dict[str, object],
    status: int,
    says: str,
) -> None:
    head.end(**answer)
    assert _exit_status("a-job", JobServer(head.url).info("a-job")) == status
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) <= 1


def test_stopping_tells_what_has_ended_already(
    head: Head, capsys: pytest.CaptureFixture[str]
) -> None:
    server = JobServer(head.url)
    _stop(server, "a-job")
    _stop(server, "a-job")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("stopped job a-job; what was recorded is kept")
    assert second == "job a-job had ended already: STOPPED"


def test_another_version_of_ray_is_a_sentence(head: Head) -> None:
    for version, says in (("2.59.1", "runs Ray 2.59.1, and this"), ("1.8.0", "Ray version 1.8.0")):
        head.ray_version = version
        with pytest.raises(ConnectionError, match=says):
            JobServer(head.url).check_version()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("head:6379", "is no URL of a job server"),
        ("127.0.0.1:8265", "is no URL of a job server"),
        ("ray://head:10001", "is for Ray's client"),
        ("http://head", "has no port"),
        ("http://head:99999", "is no URL"),
        ("http://:8265", "is no URL"),
        ("http://[::1:8265", "is no URL"),
        ("ftp://head:8265", "is no URL"),
        ("", "is no URL"),
    ],
)
def test_a_url_that_is_none_is_told_with_what_would_be_right(url: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        JobServer(url)
    assert "http://head:8265" in str(caught.value)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        check_url("http://user:HIDDEN@head:8265")
    assert "HIDDEN" not in str(caught.value)


def test_what_is_no_job_server_is_a_sentence(head: Head, tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler
    ) as web:
        web.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign, assignment]
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        try:
            with pytest.raises(ConnectionError, match="there is no Ray job server at"):
                JobServer(f"http://127.0.0.1:{web.server_port}")
        finally:
            web.shutdown()
            thread.join()
    with pytest.raises(ConnectionError, match="there is no Ray job server at"):
        JobServer(head.url.replace("http://", "https://"))


GRID = """
from study.grids._grid import Grid, GridTrial
GRID = Grid(trials=(GridTrial("intensity"),), searches=(), phantom_subjects={"ixi": 1, "brats": 1})
"""

COHORTS = """
[cohorts.a]
source = "bids"
root = "{root}"
role = "train"
"""


@pytest.fixture
def named(tmp_path: Path) -> Callable[[str], str]:
    """Puts the places of files into a command's words."""
    (tmp_path / "our_grid.py").write_text(GRID)
    (tmp_path / "bad_grid.py").write_text("GRID = 3")
    (tmp_path / "right.toml").write_text(COHORTS.format(root="/data/of/the/cluster"))
    (tmp_path / "relative.toml").write_text(COHORTS.format(root="here"))
    (tmp_path / "home.toml").write_text(COHORTS.format(root="~/here"))
    (tmp_path / "bad.toml").write_text("[cohorts.a")
    return lambda word: word.format(tmp=tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--grid nope --store /s", "unknown grid 'nope'"),
        ("--grid {tmp}/none.py --store /s", "there is no grid file"),
        ("--grid {tmp}/bad_grid.py --store /s", "has no GRID"),
        ("--grid smoke --store runs", "the store 'runs' is no absolute path"),
        ("--grid smoke", "the store 'runs' is no absolute path"),
        ("--grid smoke --store ~/runs", "the store '~/runs' is no absolute path"),
        ("--grid smoke --store s3://K:S@b/x", "AWS_ACCESS_KEY_ID"),
        ("--grid smoke --store s3:K:S@b/x", "is no URI"),
        ("--grid smoke --store s3://", "it has to be a folder"),
        ("--grid smoke --store /s --address head:6379", "takes no --address"),
        ("--grid smoke --store /s --study ../x", "is no study name"),
        ("--grid smoke --store /s --precision float8", "unknown precision 'float8'"),
        ("--grid smoke --store /s --device tpu", "unknown device 'tpu'"),
        ("--grid smoke --store /s --brain-mask x", "unknown brain mask 'x'"),
        ("--grid smoke --store /s --cohorts {tmp}/none.toml", "cannot read the cohorts file"),
        ("--grid smoke --store /s --cohorts {tmp}/bad.toml", "is no valid TOML"),
        ("--grid smoke --store /s --cohorts {tmp}/relative.toml", "'here' is no absolute path"),
        ("--grid smoke --store /s --cohorts {tmp}/home.toml", "'~/here' is no absolute path"),
    ],
)
def test_what_study_run_would_refuse_costs_no_job(
    named: Callable[[str], str], words: str, says: str
) -> None:
    arguments = [named(word) for word in words.split()]
    with pytest.raises(ValueError, match=re.escape(says)):
        make_submission(arguments, (), note=pytest.fail)


def test_the_files_that_are_named_travel_and_are_named_by_their_place_there(
    named: Callable[[str], str],
) -> None:
    words = "--epochs 2 --grid={tmp}/our_grid.py --store /s --cohorts {tmp}/right.toml --dry-run"
    made = make_submission([named(word) for word in words.split()], (), note=pytest.fail)
    assert made.arguments == (
        *("--epochs", "2", "--store", "/s", "--dry-run"),
        *("--cohorts", "submitted/cohorts.toml", "--grid", "submitted/our_grid.py"),
    )
    assert made.files["our_grid.py"].decode() == GRID
    assert b"/data/of/the/cluster" in made.files["cohorts.toml"]


def test_a_missing_bucket_costs_no_job_and_an_unreachable_one_is_a_note(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.filesystems.S3_TRIES", 1)
    words = ["--grid", "smoke", "--store"]
    with pytest.raises(UsageError, match="there is no bucket 'none'"):
        make_submission([*words, f"s3://none/x?{s3_bucket}"], (), note=pytest.fail)
    notes: list[str] = []
    gone = "s3://bucket/x?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1"
    make_submission([*words, gone], (), note=notes.append)
    assert len(notes) == 1
    assert notes[0].startswith("The store cannot be looked at from here")


def test_variables_travel_by_name_and_no_message_has_a_value() -> None:
    known = {"TOKEN": "HIDDEN", "OTHER": "x"}
    assert environment(("TOKEN",), known) == {"TOKEN": "HIDDEN"}
    for name in ("MISSING", "TOKEN=HIDDEN", "HIDDEN HIDDEN", ""):
        with pytest.raises(UsageError, match="--env") as caught:
            environment((name,), known)
        assert "HIDDEN" not in str(caught.value)


def test_a_submission_shows_no_value_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "HIDDEN")
    made = make_submission(["--grid", "smoke", "--store", "/s"], ["MY_TOKEN"], note=pytest.fail)
    assert made.environment == {"MY_TOKEN": "HIDDEN"}
    assert "HIDDEN" not in repr(made)
