"""What a store holds, for comparison: records, parts, and what nothing names."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from datasets.manifest import CohortManifest
from datasets.selfdigest import BLANK, fill_in, json_digest, json_with_digest
from datasets.storage import Storage
from study.records.studies import StudyStore, TrialStore
from study.records.types import Checkpoint, EvalRecord, FitRecord

_OF_THE_RUN = {"wall_s", "finished", "attempts", "provenance", "path", "size", "sha256", "image"}


def open_study(store: Path, name: str) -> StudyStore:
    """A study of a local store."""
    return StudyStore.open(Storage.open(str(store)), name)


def stamps(store: Path, name: str = "manifest.json") -> dict[str, tuple[int, bytes]]:
    """When and how each record of that name was written, by its path in the store."""
    return {
        str(path.relative_to(store)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(store.rglob(name))
    }


def lasting(value: Any) -> Any:
    """What of a record must not depend on when, where and in how many attempts it was made."""
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if k not in _OF_THE_RUN}
    return [lasting(v) for v in value] if isinstance(value, list) else value


def trial_content(trial: TrialStore) -> dict[str, Any]:
    """Everything a finished trial says, records and parts, apart from times and attempts."""
    fit = trial.fit()
    if fit is None:
        return {}
    found: dict[str, Any] = {"fit": lasting(fit.model_dump(mode="json"))}
    for name in sorted(fit.parts):
        data = trial.read_part(fit, name)
        is_history = name == "history.parquet"
        found[name] = pq.read_table(io.BytesIO(data)).to_pydict() if is_history else data
    for name in ("wall_s", "attempt"):
        found.get("history.parquet", {}).pop(name, None)
    for eval_id in trial.storage.names("eval"):
        record = trial.evaluation(eval_id)
        if record is None:
            continue
        found[eval_id] = lasting(record.model_dump(mode="json"))
        for name in sorted(record.parts):
            found[f"{eval_id}/{name}"] = trial.read_part(record, name)
    return found


def study_content(study: StudyStore) -> dict[str, dict[str, Any]]:
    """The content of every trial of a study."""
    return {name: trial_content(study.trial(name)) for name in study.storage.names("trials")}


def shard_content(store: Path) -> dict[str, Any]:
    """What the shards of a store hold, apart from times and where the scans lie."""
    found: dict[str, Any] = {}
    for path in sorted((store / "shards").glob("*/manifest.json")):
        manifest = CohortManifest.model_validate_json(path.read_bytes())
        found[manifest.key] = lasting(manifest.model_dump(mode="json", exclude={"skipped"}))
        for record in manifest.records:
            found[record.key] = (store / record.part).read_bytes() if record.part else record.reason
    return found


def history(trial: TrialStore) -> list[dict[str, Any]]:
    """The epochs of a finished fit."""
    fit = trial.fit()
    if fit is None or fit.status != "done":
        return []
    rows: list[dict[str, Any]] = pq.read_table(
        io.BytesIO(trial.read_part(fit, "history.parquet"))
    ).to_pylist()
    return rows


def unnamed(store: Path) -> list[str]:
    """Files that no record of the store names, and what was being written aside."""
    named = {"shards/checksums.json"}
    for path in store.glob("shards/*/manifest.json"):
        named.add(str(path.relative_to(store)))
        manifest = CohortManifest.model_validate_json(path.read_bytes())
        for record in manifest.records:
            named |= {record.part, f"shards/scans/{record.key}/record.json"}
    for folder in store.glob("studies/*"):
        own = ("study.json", "progress.json", "index.parquet", "statistics.parquet")
        named |= {str((folder / name).relative_to(store)) for name in own}
        named |= {str(path.relative_to(store)) for path in folder.glob("copies/*.json")}
        for path in folder.glob("trials/**/*.json"):
            is_over = path.name == "checkpoint.json" and path.with_name("manifest.json").exists()
            if path.name in ("manifest.json", "checkpoint.json") and not is_over:
                named |= _named(store, path)
    files = {str(p.relative_to(store)) for p in store.rglob("*") if p.is_file()}
    return sorted(p for p in files - named if not p.startswith("phantom/"))


def _named(store: Path, path: Path) -> set[str]:
    kind: type[FitRecord | Checkpoint | EvalRecord] = FitRecord
    if path.name == "checkpoint.json":
        kind = Checkpoint
    elif "eval" in path.parts:
        kind = EvalRecord
    record = kind.model_validate_json(path.read_bytes())
    parts = {str((path.parent / part.path).relative_to(store)) for part in record.parts.values()}
    return {str(path.relative_to(store)), *parts}


def digested_anew(data: bytes) -> bytes:
    """A record as a version that wrote this content would have written it."""
    digest = json_digest(data)
    assert digest is not None
    return fill_in(data.replace(digest, BLANK))


def rewrite(path: Path, **changes: object) -> None:
    """Change what a record says, as a version that wrote this content would have written it."""
    content = json.loads(path.read_text()) | changes
    content.pop("digest", None)
    path.write_bytes(json_with_digest(json.dumps(content, indent=1).encode()))
