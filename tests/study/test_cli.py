"""The commands as a person meets them: help, wrong use, dry runs."""

from __future__ import annotations

import itertools
import os
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import typer

from study import cli
from study.cluster import connection
from study.cluster.processes import process_identity, process_space
from study.records.heartbeats import Progress
from study.records.studies import StudyStore
from tests.calls import Call, apps


def _commands() -> list[tuple[str, tuple[str, ...], click.Command]]:
    found = []
    for name, app in apps().items():
        command = typer.main.get_command(app)
        subcommands = getattr(command, "commands", None)
        if subcommands is None:
            found.append((name, (), command))
        else:
            found += [(name, (sub,), c) for sub, c in sorted(subcommands.items())]
    return found


COMMANDS = _commands()


def test_the_commands_are_those_of_the_design() -> None:
    assert {"run", "prepare", "submit", "report"} <= {name for name, _, _ in COMMANDS}
    assert {("check",), ("gc",)} <= {sub for _, sub, _ in COMMANDS}


@pytest.mark.parametrize(("name", "sub", "command"), COMMANDS, ids=lambda x: str(x)[:20])
def test_help_lists_every_option_and_says_what_it_is_for(
    call: Call, name: str, sub: tuple[str, ...], command: click.Command
) -> None:
    assert command.help, "a command needs a docstring: it is its help"
    outcome = call(name, *sub, "--help")
    assert outcome.status == 0
    text = " ".join(outcome.out.split())
    assert command.help.split()[0] in text
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{parameter.name} has no help"
        for option in (*parameter.opts, *parameter.secondary_opts):
            shown = option if option.startswith("-") else str(parameter.metavar)
            assert shown in text, f"{option} is not in the help of {name}"


@pytest.mark.parametrize("name", sorted(apps()))
def test_an_unknown_option_is_named(call: Call, name: str) -> None:
    outcome = call(name, "--no-such-option")
    assert outcome.status == 2
    assert "--no-such-option" in outcome.err
    assert "Traceback" not in outcome.err


_RUN = ("run", "--grid", "smoke")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--grid", "nope"), r"unknown grid 'nope'; choose one of: .*paper, small, smoke"),
        (("run",), r"Missing option '--grid'"),
        ((*_RUN, "--cohorts", "{tmp}/none.toml"), r"cannot read the cohorts file .*none\.toml"),
        ((*_RUN, "--cohorts", "{tmp}/bad.toml"), r"bad\.toml is no valid TOML"),
        ((*_RUN, "--cohorts", "{tmp}/nowhere.toml"), r"cohort 'a': .*nowhere"),
        ((*_RUN, "--store", "{tmp}/a-file"), r"has to be a folder, but .*a-file is a file"),
        ((*_RUN, "--store", "{tmp}/a-file/x"), r"has to be a folder, but .*a-file is a file"),
        ((*_RUN, "--store", "nosuch://x"), r"cannot open the store 'nosuch://x'"),
        ((*_RUN, "--study", "../up"), r"'\.\./up' is no study name"),
        ((*_RUN, "--epochs", "0"), r"'--epochs': .*greater than or equal to 1"),
        ((*_RUN, "--seeds", "many"), r"'--seeds': .*valid integer"),
        ((*_RUN, "--seeds", "100001"), r"'--seeds': .*less than or equal to 100000"),
        ((*_RUN, "--seeds", "9" * 40), r"'--seeds': "),
        ((*_RUN, "--dry-run", "--seeds", "100000"), r"1,200,000 trials with 100,000 seeds"),
        ((*_RUN, "--epochs", "9" * 30), r"'--epochs': "),
        ((*_RUN, "--checkpoint-every", "nan"), r"'--checkpoint-every': "),
        ((*_RUN, "--asha-factor", "4"), r"--asha-factor says how --asha stops networks: give"),
        ((*_RUN, "--asha", "--asha-factor", "1"), r"'--asha-factor': .*greater than or equal to 2"),
        ((*_RUN, "--asha", "--asha-grace", "0"), r"'--asha-grace': .*greater than or equal to 1"),
        (("submit", "--grid", "smoke", "--asha-grace", "4"), r"--asha-grace says how --asha stops"),
        (("prepare", "--time-limit", "inf"), r"'--time-limit': "),
        (("prepare", "--memory-limit", "nan"), r"'--memory-limit': "),
        ((*_RUN, "surplus"), r"unexpected extra argument.*surplus"),
        (("report", "--store", "{tmp}/empty"), r"no study in the store '.*empty'"),
        (("report", "--format", "xml"), r"'xml' is not one of 'text', 'json', 'csv', 'latex'"),
        (("report", "--store", "{tmp}/a-store", "--study", "other"), r"no study 'other'.*: mine"),
        (("prepare", "--cohorts", "{tmp}/none.toml"), r"cannot read the cohorts file"),
        (("prepare", "--grid", "nope"), r"unknown grid 'nope'"),
        (("submit", "--grid", "smoke", "--nope"), r"[Nn]o such option.*--nope"),
        (("store", "check", "{tmp}/empty"), r"there is no store at '.*empty'"),
        (("store", "gc", "{tmp}/empty"), r"there is no store at '.*empty'"),
        ((*_RUN, "--store", "s3://"), r"cannot open the store 's3://': it has to be a folder"),
        ((*_RUN, "--store", "s3:///x"), r"cannot open the store 's3:///x': Missing bucket"),
        ((*_RUN, "--store", "gs://"), r"cannot open the store 'gs://': it has to be a folder"),
        (("prepare", "--store", "://x"), r"cannot open the store '://x': Cannot parse"),
        (("report", "--store", "s3://"), r"cannot open the store 's3://'"),
        (("store", "check", "://x"), r"cannot open the store '://x'"),
        ((*_RUN, "--address", "ray://h:10001"), r"--address 'ray://h:10001' .* study\.submit"),
        ((*_RUN, "--address", "http://h:8265"), r"--address 'http://h:8265' .* --job-server"),
        ((*_RUN, "--address", "u:p@head"), r"--address '…@head' .* HOST:PORT"),
        ((*_RUN, "--address", "head"), r"--address 'head' .* HOST:PORT, such as head:6379"),
        ((*_RUN, "--address", "head:99999"), r"--address 'head:99999' .* HOST:PORT"),
        ((*_RUN, "--address", ""), r"--address '' is no address"),
        (("prepare", "--address", "https://h"), r"--address 'https://h' .* --job-server"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_use_ends_with_one_sentence_and_status_2(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "a-file").touch()
    (tmp_path / "bad.toml").write_text("[cohorts.a")
    (tmp_path / "nowhere.toml").write_text(
        '[cohorts.a]\nsource = "ixi"\nroot = "nowhere"\nrole = "train"\n'
    )
    (tmp_path / "a-store/studies/mine").mkdir(parents=True)
    (tmp_path / "a-store/studies/mine/study.json").write_text("{}")
    if not any(word.startswith("--store") for word in arguments) and arguments[0] == "run":
        arguments = (*arguments, "--store", "{tmp}/runs")
    name, *words = (word.format(tmp=tmp_path) for word in arguments)
    before = sorted(tmp_path.rglob("*"))
    outcome = call(name, *words)
    assert outcome.status == 2, outcome
    sentence = outcome.err.strip().splitlines()[-1]
    assert re.search(says, sentence), sentence
    assert "Traceback" not in outcome.err + outcome.out
    assert sorted(tmp_path.rglob("*")) == before, "wrong use leaves nothing behind"


@pytest.mark.parametrize("command", [_RUN, ("prepare",)], ids=str)
@pytest.mark.parametrize("address", ["ray://h:10001", "http://h:8265", "garbage", "h:0"])
def test_a_wrong_address_in_the_environment_is_named_with_its_variable(
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    address: str,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    outcome = call(*command, "--store", tmp_path / "runs")
    assert outcome.status == 2
    assert f"RAY_ADDRESS '{address}'" in outcome.err
    assert list(tmp_path.iterdir()) == []


_STORE_COMMANDS: list[tuple[str, ...]] = [
    (*_RUN, "--store"),
    (*_RUN, "--dry-run", "--store"),
    ("prepare", "--store"),
    ("report", "--store"),
    ("store", "check"),
    ("store", "gc"),
    ("store", "repair"),
]


@pytest.mark.parametrize("words", _STORE_COMMANDS, ids=" ".join)
def test_every_command_says_that_there_is_no_such_bucket(
    call: Call, words: tuple[str, ...], s3_bucket: str
) -> None:
    outcome = call(*words, f"s3://no-such-bucket/x?{s3_bucket}")
    assert outcome.status == 2
    assert "error: there is no bucket 'no-such-bucket'" in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize("words", _STORE_COMMANDS, ids=" ".join)
def test_every_command_refuses_a_key_in_the_stores_uri_and_hides_it(
    call: Call, words: tuple[str, ...]
) -> None:
    for uri in ("s3://SHOWN:HIDDEN@bucket/x", "s3://bucket/x?secret_key=HIDDEN"):
        outcome = call(*words, uri)
        assert outcome.status == 2
        assert "AWS_ACCESS_KEY_ID" in outcome.err
        assert len(outcome.err.splitlines()) == 1
        for part in ("HIDDEN", "SHOWN", "bucket"):
            assert part not in outcome.err + outcome.out


def test_a_damaged_study_is_a_sentence_and_status_1(call: Call, tmp_path: Path) -> None:
    (tmp_path / "studies/mine").mkdir(parents=True)
    (tmp_path / "studies/mine/study.json").write_text('{"study": 3')
    outcome = call("report", "--store", tmp_path)
    assert outcome.status == 1
    assert "study.json is damaged" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_an_unreachable_store_is_a_sentence_and_status_1(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    uri = "s3://bucket/x?endpoint_override=127.0.0.1:1&scheme=http&region=us-east-1"
    outcome = call("report", "--store", uri)
    assert outcome.status == 1
    assert "127.0.0.1" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "no-such-host.invalid:1"])
def test_a_cluster_that_is_not_there_is_a_sentence_at_once(address: str) -> None:
    with (
        pytest.raises(ConnectionError, match=f"no Ray cluster at '{address}'"),
        connection.connected(address, verbose=False),
    ):
        pytest.fail("there is no cluster to connect to")


def test_the_papers_dry_run_counts_and_writes_nothing(call: Call, tmp_path: Path) -> None:
    store = tmp_path / "runs"
    outcome = call("run", "--grid", "paper", "--dry-run", "--store", store)
    assert outcome.status == 0, outcome
    lines = outcome.out.splitlines()
    for line in ("networks: 126", "gmm: 8", "baselines: 2", "already done: 0"):
        assert line in lines
    assert "This will take about" in outcome.out
    parameters = re.findall(r"│\s+(?:AE|DAE|VAE)\s+│\s+(?:8|16|32)\s+│(.*)", outcome.out)
    assert len(parameters) == 9
    assert all(len(re.findall(r"\d+\.\d\d", row)) == 7 for row in parameters)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_on_own_cohorts_that_do_not_fit_together_says_why(
    call: Call, tmp_path: Path
) -> None:
    image = tmp_path / "data/sub-01/anat/sub-01_T1w.nii.gz"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"")
    file = tmp_path / "cohorts.toml"
    file.write_text('[cohorts.own]\nsource = "bids"\nroot = "data"\nrole = "train"\n')
    outcome = call("run", "--grid", "smoke", "--dry-run", "--cohorts", file)
    assert outcome.status == 2
    assert "needs a train and a test cohort of the same modality" in outcome.err
    assert "own (train, T1w)" in outcome.err


@pytest.mark.parametrize("uri", [".", "runs", "a/b/c"])
def test_a_store_need_not_exist_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(cli.open_store(uri).root) == tmp_path / uri
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["study.run", "study.report", "study.store", "study.prepare"])
def test_a_module_run_with_wrong_options_is_quiet_and_names_itself(
    module: str, run: Callable[..., Any]
) -> None:
    command = run(module, "--no-such-option", status=2)
    assert f"python -m {module}" in command.err
    assert command.err.strip().splitlines()[-1].endswith("--no-such-option")
    assert command.out == ""


@pytest.mark.parametrize("place", ["another-host", "another container", "here"])
def test_a_study_of_the_same_name_in_use_is_refused_with_who_and_since_when(
    call: Call, tmp_path: Path, place: str
) -> None:
    study = StudyStore.open(cli.open_store(str(tmp_path)), "mine")
    mine = Progress(
        driver="d",
        host=socket.gethostname() if place == "another container" else place,
        pid=os.getpid(),
        process=process_identity(os.getpid()),
        space=process_space() if place == "here" else "another start:4026531836",
        stage="trials",
        started="2026-01-02T03:04:05+00:00",
        updated="2020-01-02T03:04:05+00:00",  # a clock that is wrong by years
    )
    study.write_progress(mine)
    over = threading.Event()

    def beat() -> None:
        for count in itertools.count():
            if over.wait(0.2):
                return
            late = f"2020-01-02T03:04:{count % 60:02d}.5+00:00"
            study.write_progress(mine.model_copy(update={"updated": late}))

    beating = threading.Thread(target=beat)
    if place != "here":
        beating.start()
    try:
        outcome = call("run", "--grid", "smoke", "--study", "mine", "--store", tmp_path)
    finally:
        over.set()
        if place != "here":
            beating.join()
    assert outcome.status == 2
    for word in (f"process {mine.pid}", mine.host, "2026-01-02T03:04:05", "--take-over"):
        assert word in outcome.err
