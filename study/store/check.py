"""``study.store check`` and ``gc``: what is wrong in a store, and what no record needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from datasets.manifest import ScanRecord, read_manifest
from datasets.storage import Storage, StorageError
from study.records.studies import StudyStore, study_names
from study.records.types import Checkpoint, EvalRecord, FitRecord, Record, parse_record

_MANIFESTS: dict[str, type[FitRecord | Checkpoint | EvalRecord]] = {
    "manifest.json": FitRecord,
    "checkpoint.json": Checkpoint,
}


_ASIDE = ".tmp"
"""End of the names under which a put writes before it renames."""


@dataclass(frozen=True)
class Finding:
    """Something wrong.

    Attributes:
        message: What, in one sentence that names the file.
        folder: The folder of a manifest that cannot be read, below the study's.
    """

    message: str
    folder: str = ""


@dataclass(frozen=True)
class Named:
    """A manifest's folder, below the study's, and the paths of the parts it names."""

    folder: str
    record: FitRecord | Checkpoint | EvalRecord


def check_store(store: Storage) -> Iterator[Finding | str]:
    """Verify every manifest and every checksum.

    Yields:
        A finding for each thing wrong, and the path of each file that is right.
    """
    for name in study_names(store):
        yield from _check_study(StudyStore.open(store, name))
    yield from _check_shards(store)


def sweep(study: StudyStore, *, dry_run: bool = False) -> list[str]:
    """Remove the parts in a study that no manifest names, and what was being written aside.

    Not to be called while another process works on the study: its parts have no manifest yet.

    Args:
        study: The study.
        dry_run: Only tell.

    Returns:
        The paths, below the study's folder, that were removed.
    """
    needed, unclear, stale = set(), [], []
    for named in _manifests(study):
        if not isinstance(named, Named):
            unclear.append(named.folder)  # a damaged manifest may need anything
        elif isinstance(named.record, Checkpoint) and _is_over(study, named.record):
            stale.append(f"{named.folder}checkpoint.json")
        else:
            needed |= {f"{named.folder}{part.path}" for part in named.record.parts.values()}
    aside = [name for name in study.storage.names() if name.endswith(_ASIDE)]
    parts = (p for p in study.storage.files("trials") if _is_part(p) and p not in needed)
    orphans = [p for p in parts if not any(p.startswith(folder) for folder in unclear)]
    orphans = [*stale, *orphans, *aside]
    if not dry_run:
        for path in orphans:
            study.storage.delete(path)
        for folder in sorted({path.rpartition("/")[0] for path in orphans}):
            if "/attempts/" in folder and not study.storage.names(folder):
                study.storage.delete(folder)
    return orphans


def _is_over(study: StudyStore, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint's fit has been finished: a kill came before the checkpoint was gone."""
    try:
        fit = study.trial(checkpoint.trial_id).fit()
    except StorageError:
        return False
    asked_for = checkpoint.epochs or checkpoint.epoch  # a longer fit may begin at an earlier epoch
    return fit is not None and fit.status == "done" and fit.spec.epochs >= asked_for


def sweep_shards(store: Storage, *, dry_run: bool = False) -> list[str]:
    """Remove slices of scans that no scan record names; returns their paths."""
    orphans = []
    for key in store.names("shards/scans"):
        folder = f"shards/scans/{key}"
        record = _scan_record(store, key)
        kept = {f"{folder}/record.json", record.part if record else ""}
        orphans += [path for path in store.files(folder) if path not in kept]
    beside = (p for p in store.files("shards") if not p.startswith("shards/scans/"))
    orphans += [path for path in beside if path.endswith(_ASIDE)]
    if not dry_run:
        for path in orphans:
            store.delete(path)
    return orphans


def _is_part(path: str) -> bool:
    return "/attempts/" in path or path.endswith(_ASIDE)


def _check_study(study: StudyStore) -> Iterator[Finding | str]:
    for read in (study.study, study.progress):
        try:
            read()
        except StorageError as error:
            yield Finding(str(error))
    for named in _manifests(study):
        if isinstance(named, Finding):
            yield named
            continue
        for part in named.record.parts.values():
            path = f"{named.folder}{part.path}"
            yield _checked(study.storage, path, part.sha256)


def _manifests(study: StudyStore) -> Iterator[Named | Finding]:
    for path in study.storage.files("trials"):
        folder, _, name = path.rpartition("/")
        kind = _MANIFESTS.get(name)
        if kind is None or "/attempts/" in path:
            continue
        if "/eval/" in path:
            kind = EvalRecord
        where = f"{study.storage.uri}/{path}"
        try:
            record: Record = parse_record(kind, study.storage.read(path), where)
        except (StorageError, FileNotFoundError) as error:
            yield Finding(str(error), f"{folder}/")
        else:
            assert isinstance(record, FitRecord | Checkpoint | EvalRecord)
            yield Named(f"{folder}/", record)


def _check_shards(store: Storage) -> Iterator[Finding | str]:
    for key in store.names("shards"):
        if key == "scans" or not store.exists(f"shards/{key}/manifest.json"):
            continue
        try:
            manifest = read_manifest(store, key)
        except StorageError as error:
            yield Finding(str(error))
            continue
        for record in manifest.records if manifest else ():
            if record.part:
                yield _checked(store, record.part, record.sha256)


def _checked(storage: Storage, path: str, sha256: str) -> Finding | str:
    try:
        storage.read(path, sha256)
    except FileNotFoundError as error:
        return Finding(f"a part is missing: {error}")
    except StorageError as error:
        return Finding(str(error))
    return path


def _scan_record(store: Storage, key: str) -> ScanRecord | None:
    try:
        return ScanRecord.model_validate_json(store.read(f"shards/scans/{key}/record.json"))
    except (FileNotFoundError, ValueError):
        return None
