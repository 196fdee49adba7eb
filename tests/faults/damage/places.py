"""Kinds of files and folders in a store, told by their paths."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from datasets.layout import Kind
from datasets.layout import kind_of as kind_by_name

_TRIAL = r"studies/[^/]+/trials/\w+"
_EVAL = rf"{_TRIAL}/eval/\w+"
_FIT_PARTS = ("spec.json", "history.parquet", "model.safetensors", "state.safetensors")
_EVAL_PARTS = (
    *("metrics.parquet", "roc.parquet", "subjects.parquet"),
    *("slices.parquet", "lesions.parquet", "heatmaps.parquet"),
)

FILES: dict[str, str] = {
    "shards/checksums.json": r"shards/checksums\.json",
    "shards/retries.json": r"shards/retries\.json",
    "shards/scans/KEY/record.json": r"shards/scans/\w+/record\.json",
    "shards/scans/KEY/slices.parquet": r"shards/scans/\w+/slices-\w+\.parquet",
    "shards/KEY/manifest.json": r"shards/\w+/manifest\.json",
    "studies/S/study.json": r"studies/[^/]+/study\.json",
    "studies/S/progress.json": r"studies/[^/]+/progress\.json",
    "studies/S/index.parquet": r"studies/[^/]+/index\.parquet",
    "studies/S/statistics.parquet": r"studies/[^/]+/statistics\.parquet",
    "studies/S/copies/U.json": r"studies/[^/]+/copies/\w+\.json",
    "trials/T/manifest.json": rf"{_TRIAL}/manifest\.json",
    "trials/T/checkpoint.json": rf"{_TRIAL}/checkpoint\.json",
    **{
        f"trials/T/attempts/A/{name}": rf"{_TRIAL}/attempts/\w+/{re.escape(name)}"
        for name in (*_FIT_PARTS, "continuation.safetensors")
    },
    "trials/T/attempts/A/state-N.safetensors": rf"{_TRIAL}/attempts/\w+/state-\d+\.safetensors",
    "trials/T/attempts/A/history-N.parquet": rf"{_TRIAL}/attempts/\w+/history-\d+\.parquet",
    "eval/E/manifest.json": rf"{_EVAL}/manifest\.json",
    **{
        f"eval/E/attempts/A/{name}": rf"{_EVAL}/attempts/\w+/{re.escape(name)}"
        for name in _EVAL_PARTS
    },
}
"""Pattern of the path of each kind of file, as ``docs/store.md`` has them."""

FOLDERS: dict[str, str] = {
    "STORE/": "",
    "shards/": "shards",
    "shards/scans/": "shards/scans",
    "shards/scans/KEY/": r"shards/scans/\w+",
    "shards/KEY/": r"shards/(?!scans$)\w+",
    "studies/": "studies",
    "studies/S/": "studies/[^/]+",
    "studies/S/copies/": "studies/[^/]+/copies",
    "studies/S/trials/": "studies/[^/]+/trials",
    "trials/T/": _TRIAL,
    "trials/T/attempts/": rf"{_TRIAL}/attempts",
    "trials/T/attempts/A/": rf"{_TRIAL}/attempts/\w+",
    "trials/T/eval/": rf"{_TRIAL}/eval",
    "eval/E/": _EVAL,
    "eval/E/attempts/": rf"{_EVAL}/attempts",
    "eval/E/attempts/A/": rf"{_EVAL}/attempts/\w+",
}
"""The same of each kind of folder."""

_STATUSES = {"failed": " (failed)", "quarantined": " (set aside)"}

CACHES = frozenset(
    (
        "shards/checksums.json",
        "studies/S/index.parquet",
        "studies/S/statistics.parquet",
        "studies/S/progress.json",
        "studies/S/copies/U.json",
    )
)
"""Files that may be older than the store, or missing, and nothing is lost."""
NO_RECORD = frozenset((Kind.UNFINISHED, Kind.SET_ASIDE))
"""Kinds of file that no store has that is as it should be."""

FAILED_EVALUATION = "eval/E/manifest.json (failed)"


class UnknownFileError(ValueError):
    """A file or folder in a store that no kind is known for."""


def find_places(root: Path) -> dict[str, tuple[str, ...]]:
    """The files and folders of a store by kind, as sorted paths below it.

    Raises:
        UnknownFileError: If one is of no known kind, or a kind of file is not there: it has to join
            the campaign.
    """
    found: dict[str, list[str]] = {}
    for path in below(root):
        found.setdefault(kind_of(root, path), []).append(path)
    missing = set(Kind) - NO_RECORD - {kind_by_name(p) for paths in found.values() for p in paths}
    if missing:
        raise UnknownFileError(
            f"no file is of the kind {min(missing).value!r}; "
            "let tests/faults/damage/original.py make one, so that it is damaged too"
        )
    return {kind: tuple(sorted(paths)) for kind, paths in sorted(found.items())}


def kind_of(root: Path, path: str) -> str:
    """The kind of a file or folder of a store.

    Raises:
        UnknownFileError: If there is none.
    """
    is_folder = (root / path).is_dir()
    for kind, pattern in (FOLDERS if is_folder else FILES).items():
        if re.fullmatch(pattern, path):
            return kind if is_folder else kind + _status(root / path)
    raise UnknownFileError(
        f"{path!r} is of a kind that the campaign does not know; "
        "add its pattern to tests/faults/damage/places.py, so that it is damaged too"
    )


def below(root: Path) -> Iterator[str]:
    """The root itself as an empty path, and all below it; no link is followed."""
    yield ""
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield os.path.relpath(os.path.join(folder, name), root)


def plain(kind: str) -> str:
    """A kind without what its records say of their status."""
    return kind.partition(" (")[0]


def named_by(root: Path, places: Mapping[str, tuple[str, ...]]) -> dict[str, set[str]]:
    """The records that name a file, by its path: without one of them the file is needed still."""
    found: dict[str, set[str]] = {}
    for kind, paths in places.items():
        for path in paths:
            for named in _names(root, plain(kind), path):
                found.setdefault(named, set()).add(path)
    return found


def _names(root: Path, kind: str, path: str) -> Iterator[str]:
    """The files that a record names."""
    folder = path.rpartition("/")[0]
    if kind in ("trials/T/manifest.json", "trials/T/checkpoint.json", "eval/E/manifest.json"):
        for part in json.loads((root / path).read_bytes())["parts"].values():
            yield f"{folder}/{part['path']}"
        if kind != "trials/T/checkpoint.json":
            yield f"{folder.split('/trials/')[0]}/study.json"  # what lies below a study needs it
    elif kind == "shards/KEY/manifest.json":
        for record in json.loads((root / path).read_bytes())["records"]:
            yield f"shards/scans/{record['key']}/record.json"
            if record["part"]:
                yield record["part"]
    elif kind == "shards/scans/KEY/record.json":
        part = json.loads((root / path).read_bytes())["part"]
        if part:
            yield part
    elif kind == "studies/S/study.json":
        for cohort in json.loads((root / path).read_bytes())["cohorts"]:
            yield f"shards/{cohort['key']}/manifest.json"


def _status(path: Path) -> str:
    if path.name not in ("manifest.json", "record.json"):
        return ""
    status = json.loads(path.read_bytes()).get("status", "")
    return _STATUSES.get(status, "")
