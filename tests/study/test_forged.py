"""Records that somebody has made up, with digests that fit: they stop nothing and fool nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from datasets.selfdigest import json_with_digest
from datasets.storage import Storage, sha256_hex
from study.errors import DamagedError
from study.records.identities import Problem
from study.records.index import load_index, read_metrics
from study.records.parts import table_bytes
from study.records.problems import Problems
from study.records.studies import StudyStore, study_names
from study.records.types import PlannedTrial
from trainables.tables import METRICS_SCHEMA

BIG = 2**63


@pytest.fixture
def study(
    local_study: StudyStore, make_trial: Callable[..., PlannedTrial], put_trial: Callable[..., None]
) -> StudyStore:
    for seed in (0, 1):
        put_trial(local_study, make_trial("intensity", seed=seed), {"intensity": 0.7})
    return local_study


def forge(study: StudyStore, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what the first record of that name says, and give it the digest that fits."""
    path = next(p for p in study.storage.files("trials") if p.endswith(name))
    content = json.loads(study.storage.read(path))
    content.pop("digest")
    change(content)
    study.storage.put(path, json_with_digest(json.dumps(content, indent=1).encode()))


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(steps=BIG),
        lambda record: record.update(attempts=-1),
        lambda record: record.update(n_parameters=10**400),
        lambda record: record.update(wall_s=float("nan")),
        lambda record: record.update(train_loss=float("inf")),
        lambda record: record.update(status=["done"]),
        lambda record: record.update(spec="vae"),
        lambda record: record.update(parts={"x": {"path": "/etc/passwd"}}),
        lambda record: record["spec"].update(seed=BIG),
        lambda record: record["spec"].update(epochs=0),
        lambda record: record.update(store_version="one"),
    ],
)
def test_a_fit_of_numbers_and_types_that_cannot_be_is_damaged_and_hides_no_other(
    study: StudyStore, change: Callable[[dict[str, Any]], object]
) -> None:
    fit = f"{study.storage.names('trials')[0]}/manifest.json"
    forge(study, fit, change)
    index = load_index(study)
    assert Problems.of(index).counts == {Problem.DAMAGED: 1}
    kinds = [(row["kind"], row["trial_id"]) for row in index.to_pylist()]
    assert ("fit", study.storage.names("trials")[1]) in kinds


def _rows(**changes: object) -> pa.Table:
    row = dict.fromkeys(METRICS_SCHEMA.names) | {"score": "s", "region": "brain", "auc": 0.5}
    return pa.Table.from_pylist([row | changes], schema=METRICS_SCHEMA)


def _garbled() -> bytes:
    data = bytearray(table_bytes(_rows()))
    for place in range(4, 40):
        data[place] ^= 0xFF
    return bytes(data)


METRICS = {
    "no region": lambda: table_bytes(_rows(region=None)),
    "no score": lambda: table_bytes(_rows(score=None)),
    "a region of its own": lambda: table_bytes(_rows(region="moon")),
    "no rows": lambda: table_bytes(_rows().slice(0, 0)),
    "too many rows": lambda: table_bytes(pa.concat_tables([_rows()] * 20_000)),
    "text for numbers": lambda: table_bytes(_rows().set_column(6, "auc", pa.array(["high"]))),
    "no table": lambda: b"PAR1",
    "garbled pages": _garbled,
    "other columns": lambda: table_bytes(pa.table({"a": [1]})),
}


@pytest.mark.parametrize("make", METRICS.values(), ids=METRICS)
def test_a_table_of_metrics_that_cannot_be_is_damaged_though_its_checksum_fits(
    study: StudyStore, make: Callable[[], bytes]
) -> None:
    data = make()
    with pytest.raises(DamagedError, match=r"metrics\.parquet"):
        read_metrics(data, "it")
    path = next(p for p in study.storage.files("trials") if p.endswith("metrics.parquet"))
    study.storage.put(path, data)
    folder, _, part = path.partition("/attempts/")

    def name(record: dict[str, Any]) -> None:
        told = {"path": f"attempts/{part}", "sha256": sha256_hex(data), "size": len(data)}
        record["parts"] = {"metrics.parquet": told}

    forge(study, f"{folder}/manifest.json", name)
    assert Problems.of(load_index(study)).counts == {Problem.DAMAGED: 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [("pid", 2**70), ("seconds_left", float("inf")), ("updated", "noon"), ("running", [1])],
)
def test_a_heartbeat_that_cannot_be_is_damaged(
    study: StudyStore, field: str, value: object
) -> None:
    good = {
        "store_version": 1,
        **{"driver": "d", "host": "h", "pid": 1, "stage": "trials"},
        **dict.fromkeys(("started", "updated"), "2026-01-02T03:04:05+00:00"),
    }
    study.storage.put("progress.json", json.dumps(good).encode())
    assert study.progress() is not None
    study.storage.put("progress.json", json.dumps(good | {field: value}).encode())
    with pytest.raises(DamagedError, match=field):
        study.progress()


def test_half_of_every_record_is_told_and_not_taken_for_an_empty_study(
    study: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Storage.read

    def half(self: Storage, path: str, sha256: str | None = None) -> bytes:
        data = whole(self, path, sha256)
        return data[: len(data) // 2]

    monkeypatch.setattr(Storage, "read", half)
    problems = Problems.of(load_index(study))
    assert problems.counts == {Problem.DAMAGED: 8}  # two fits and their six evaluations
    assert problems.lose_results


def test_folders_whose_names_are_unsafe_are_no_studies_and_stop_nobody(
    study: StudyStore, tmp_path: Path
) -> None:
    store = Storage.open(str(tmp_path / "store"))
    for name in ("a..b", ".hidden", "x" * 65, "two words"):
        store.put(f"studies/{name}/study.json", b"{}")
    assert study_names(store) == ()
