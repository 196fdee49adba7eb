"""Keys and passwords: whatever a user writes where, none is printed, kept or sent on."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.options import parse_options
from datasets import filesystems
from datasets.uris import without_secrets
from study.errors import EXIT_BROKE, EXIT_USAGE
from study.trials.failures import failure_of
from tests.calls import Call

HIDDEN = "HIDDEN9f3c"
URIS = {
    "user": f"s3://AKIA{HIDDEN}:{HIDDEN}@bucket/x",
    "query": f"s3://bucket/x?secret_key={HIDDEN}",
    "web": f"https://someone:{HIDDEN}@example.invalid:8265/x",
}

WORDS: dict[str, tuple[str, ...]] = {
    "run --store": ("run", "--grid", "smoke", "--dry-run", "--store"),
    "run --cohorts": ("run", "--grid", "smoke", "--dry-run", "--cohorts"),
    "run --grid": ("run", "--dry-run", "--grid"),
    "run --study": ("run", "--grid", "smoke", "--dry-run", "--study"),
    "run --address": ("run", "--grid", "smoke", "--address"),
    "run --cache": ("run", "--grid", "smoke", "--store", "/proc/x", "--cache"),
    "run --seeds": ("run", "--grid", "smoke", "--seeds"),
    "run --precision": ("run", "--grid", "smoke", "--precision"),
    "run --brain-extractor": ("run", "--grid", "smoke", "--brain-extractor"),
    "run alone": ("run", "--grid", "smoke"),
    "run misspelt": ("run", "--grid", "smoke", "--stroe"),
    "prepare --store": ("prepare", "--store"),
    "prepare --cohorts": ("prepare", "--cohorts"),
    "prepare --grid": ("prepare", "--grid"),
    "prepare --report": ("prepare", "--report"),
    "prepare --address": ("prepare", "--address"),
    "report --store": ("report", "--store"),
    "report --study": ("report", "--store", "/nowhere", "--study"),
    "report --format": ("report", "--format"),
    "report alone": ("report",),
    "check": ("store", "check"),
    "check twice": ("store", "check", "/nowhere"),
    "gc": ("store", "gc"),
    "gc --cache": ("store", "gc", "/nowhere", "--cache"),
    "rebuild": ("store", "rebuild-index"),
    "no such command": ("store",),
    "submit --store": ("submit", "--grid", "smoke", "--store"),
    "submit --cohorts": ("submit", "--grid", "smoke", "--store", "/nowhere", "--cohorts"),
    "submit --grid": ("submit", "--store", "/nowhere", "--grid"),
    "submit --job-server": ("submit", "--job-server"),
    "submit --status": ("submit", "--status"),
    "submit --env": ("submit", "--grid", "smoke", "--store", "/nowhere", "--env"),
    "submit alone": ("submit", "--grid", "smoke", "--store", "/nowhere"),
    "submit beside": ("submit", "--status", "x"),
}


@pytest.mark.parametrize("uri", URIS)
@pytest.mark.parametrize("words", WORDS)
def test_a_secret_in_any_word_of_any_command_is_not_repeated(
    words: str, uri: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = call(*WORDS[words], URIS[uri])
    assert outcome.status == EXIT_USAGE
    assert outcome.err.startswith("error: ")
    assert len(outcome.err.splitlines()) == 1
    assert HIDDEN not in outcome.out + outcome.err
    assert list(tmp_path.rglob("*")) == []


def test_a_secret_behind_an_equals_sign_is_found(call: Call) -> None:
    outcome = call("run", "--grid=smoke", f"--store={URIS['user']}")
    assert outcome.status == EXIT_USAGE
    assert "AWS_SECRET_ACCESS_KEY" in outcome.err
    assert HIDDEN not in outcome.out + outcome.err


@pytest.mark.parametrize(
    "address", [f"u:{HIDDEN}@head:6379", f"http://u:{HIDDEN}@head:8265", f"ray://{HIDDEN}@head:1"]
)
def test_the_address_of_a_cluster_is_shown_without_its_user(
    address: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    outcome = call("run", "--grid", "smoke")
    assert outcome.status == EXIT_USAGE
    assert "RAY_ADDRESS" in outcome.err
    assert "…@head" in outcome.err
    assert HIDDEN not in outcome.out + outcome.err


COHORTS = {
    "root": """[cohorts.a]
source = "bids"
role = "train"
root = "{uri}"
""",
    "source": """[cohorts.a]
source = "{uri}"
role = "train"
root = "."
""",
    "role": """[cohorts.a]
source = "bids"
role = "{uri}"
root = "."
""",
    "another name": """[cohorts.a]
"{uri}" = 1
source = "bids"
role = "train"
root = "."
""",
}


@pytest.mark.parametrize("uri", URIS)
@pytest.mark.parametrize("place", COHORTS)
def test_a_secret_in_a_cohorts_file_is_not_repeated(
    place: str, uri: str, call: Call, tmp_path: Path
) -> None:
    path = tmp_path / "cohorts.toml"
    path.write_text(COHORTS[place].format(uri=URIS[uri]))
    store = tmp_path / "store"
    outcome = call("prepare", "--cohorts", path, "--store", store)
    assert outcome.status == EXIT_USAGE
    assert str(path) in outcome.err
    assert HIDDEN not in outcome.out + outcome.err
    assert not store.exists()


VARIABLES = {
    "AWS_ENDPOINT_URL": ("report", "--store", "s3://bucket/x?region=us-east-1"),
    "HTTP_PROXY": ("submit", "--job-server", "http://job-server.invalid:8265", "--status", "x"),
    "RAY_API_SERVER_ADDRESS": ("submit", "--status", "x"),
    "ANOMALY_STUDY_CACHE": ("store", "gc", "/nowhere"),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_secret_in_the_environment_is_not_repeated(
    name: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", HIDDEN)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", HIDDEN)
    monkeypatch.setattr(filesystems, "S3_TRIES", 1)
    monkeypatch.setenv(name, f"http://someone:{HIDDEN}@127.0.0.1:1")
    outcome = call(*VARIABLES[name])
    assert outcome.status in (EXIT_BROKE, EXIT_USAGE)
    assert outcome.err.startswith("error: ")
    assert HIDDEN not in outcome.out + outcome.err


@pytest.mark.parametrize("words", [["--store"], ["--host"], ["--study"], []])
def test_the_dashboard_repeats_no_secret(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for uri in URIS.values():
        with pytest.raises(SystemExit) as ended:
            parse_options([*words, uri])
        assert ended.value.code == EXIT_USAGE
        assert HIDDEN not in "".join(capsys.readouterr())


MASKED = {
    "cannot open 's3://a:b@bucket/x': it": "cannot open 's3://…@bucket/x': it",
    "s3:/a:b/c@bucket/x is no folder": "s3:/…@bucket/x is no folder",
    "via http://u:p@proxy:3128, twice http://proxy:3128": (
        "via http://…@proxy:3128, twice http://proxy:3128"
    ),
    "s3://bucket/x?region=r&secret_key=b failed": "s3://bucket/x?… failed",
    "s3://bucket/x?region=r failed": "s3://bucket/x?region=r failed",
    "abfs://container@account/x failed": "abfs://container@account/x failed",
    "/data/a@b and a:b@c": "/data/a@b and a:b@c",
}


@pytest.mark.parametrize("text", MASKED)
def test_what_libraries_say_is_shown_without_secrets(text: str) -> None:
    assert without_secrets(text) == MASKED[text]


def test_the_record_of_a_failure_has_no_secret() -> None:
    try:
        raise RuntimeError(f"no answer from {URIS['web']}")
    except RuntimeError as error:
        record = failure_of(error).model_dump_json()
    assert "no answer from https://…@example.invalid" in record
    assert HIDDEN not in record
