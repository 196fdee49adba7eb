"""Keys and passwords: whatever a user writes where, none is printed, kept or sent on."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    assert outcome.status not in (0, None)
    assert HIDDEN not in outcome.out + outcome.err
