"""Claim: the index of ten thousand finished trials is there long before their records are read.

The peer parses the JSON records alone, of fits and evaluations, and opens none of their tables.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.measurement import Measurement, compared
from benchmarks.synthetic_store import Wanted, write_store
from datasets.storage import Storage
from study.records.index import load_index
from study.records.studies import StudyStore

N_TRIALS = 10_000


def measure() -> list[Measurement]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_store(folder, "many", Wanted(trials=N_TRIALS, full=False, failed=0))
        study = StudyStore.open(Storage.open(str(folder)), "many")
        records = sorted((folder / "studies/many/trials").rglob("manifest.json"))
        row = compared(
            "index_10000_trials",
            f"index of {N_TRIALS:,} trials as they are now",
            f"parsing their {len(records):,} JSON records",
            lambda: load_index(study),
            lambda: [json.loads(path.read_bytes()) for path in records],
            wanted=1.0,
        )
        if len(set(load_index(study)["trial_id"].to_pylist())) != N_TRIALS:
            raise RuntimeError("the index lacks trials")
    return [row]
