"""A report says where a part of an evaluation that it needs cannot be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.storage import Storage
from study.records.studies import StudyStore
from study.report.evidence import Evidence
from study.report.report import make_report

pytestmark = pytest.mark.slow

STUDY = "smoke-phantom"


KEPT = "statistics.parquet"


@pytest.fixture
def store(smoke_store: Path, tmp_path: Path) -> Path:
    """A finished study for which nothing is kept that was worked out from its parts."""
    store = Path(shutil.copytree(smoke_store, tmp_path / "runs"))
    (store / "studies" / STUDY / KEPT).unlink(missing_ok=True)
    return store


def _opened(store: Path) -> StudyStore:
    return StudyStore.open(Storage.open(str(store)), STUDY)


def _flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("part", ["subjects.parquet", "lesions.parquet", "slices.parquet"])
@pytest.mark.parametrize("words", [(), ("--format", "json"), ("--format", "markdown")])
def test_a_part_that_cannot_be_read_is_told_of_with_the_command_to_look(
    run: Callable[..., Any], store: Path, part: str, words: tuple[str, ...]
) -> None:
    for file in (store / "studies" / STUDY).glob(f"trials/*/eval/*/attempts/*/{part}"):
        _flip_a_bit(file)
    told = run("study.report", "--store", store, *words, status=1)
    said = told.err if words else told.out
    assert "of evaluations cannot be read" in " ".join(said.split())
    assert "python -m study.store check" in " ".join(said.split())
    if "json" in words:
        assert all(row["auc"] is not None for row in json.loads(told.out)["rows"])


def test_what_a_damaged_part_leaves_unknown_is_not_kept(store: Path) -> None:
    study = _opened(store)
    record = study.study()
    assert record is not None
    row = make_report(study, record).best[0]
    place = f"trials/{row['trial_id']}/eval/{row['eval_id']}"
    (file,) = (store / "studies" / STUDY / place).glob("attempts/*/subjects.parquet")
    whole = file.read_bytes()
    kept = store / "studies" / STUDY / KEPT
    _flip_a_bit(file)
    report = make_report(study, record)
    assert report.evidence is not None
    assert report.evidence.of_row(row).auc_low is None
    report.keep_statistics()
    assert not kept.exists()
    file.write_bytes(whole)
    assert Evidence(study, report.index).of_row(row).auc_low is not None
