"""The trial store: the only truth about a study, on any pyarrow filesystem.

Every attempt at a fit or an evaluation writes whole parts under a random name of its own, then
one manifest that names them with their checksums. Readers follow manifests only, so whatever an
interrupted or orphaned writer leaves behind is never read, and ``study.store gc`` removes it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from pydantic import ValidationError

from datasets.selfdigest import json_with_digest
from datasets.storage import DamagedFileError, Storage, StorageError
from study.errors import DamagedError, ForeignError
from study.records.heartbeats import Progress
from study.records.parsing import R, parse_record
from study.records.types import (
    Checkpoint,
    CopyRecord,
    DescribedStudy,
    EvalRecord,
    FitRecord,
    Part,
    Record,
    StudyRecord,
)

P = TypeVar("P", FitRecord, Checkpoint, EvalRecord)
"""Records that name parts."""

STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def utc_now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def check_study_name(name: str) -> str:
    """Return a study name that is safe as a folder name.

    Raises:
        ValueError: If it is not.
    """
    if not STUDY_NAME.fullmatch(name) or ".." in name:
        raise ValueError(
            f"{name!r} is no study name; use letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit, at most 64"
        )
    return name


@dataclass(frozen=True)
class Attempt:
    """Parts being written by one process under one random name.

    Not shared between processes. Nothing is visible to readers until a manifest names it.

    Attributes:
        storage: Folder of the manifest that will name the parts.
        name: Random name of the attempt.
    """

    storage: Storage
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def put(self, file_name: str, data: bytes) -> Part:
        """Write one whole part.

        Raises:
            StorageError: If it cannot be written.
        """
        path = f"attempts/{self.name}/{file_name}"
        return Part(path=path, sha256=self.storage.put(path, data), size=len(data))

    def put_all(self, files: Mapping[str, bytes]) -> dict[str, Part]:
        """Write several parts, by file name."""
        return {name: self.put(name, data) for name, data in files.items()}


@dataclass(frozen=True)
class TrialStore:
    """The folder of one trial: its fit, its checkpoint, its evaluations."""

    storage: Storage
    trial_id: str

    def attempt(self) -> Attempt:
        """A new attempt at the fit."""
        return Attempt(self.storage)

    def fit(self) -> FitRecord | None:
        """The record of the fit, or None."""
        return self._own(_read(self.storage, "manifest.json", FitRecord), "manifest.json")

    def checkpoint(self) -> Checkpoint | None:
        """Where an unfinished fit can go on, or None."""
        record = _read(self.storage, "checkpoint.json", Checkpoint)
        return self._own(record, "checkpoint.json")

    def write_fit(self, record: FitRecord, *, keep_checkpoint: bool = False) -> None:
        """Publish a fit in place of the one before; earlier parts are needed no more.

        Args:
            record: The fit.
            keep_checkpoint: Whether the fit, which then is unfinished, may go on from there.
        """
        _replace(self.storage, "manifest.json", self.fit, record)
        if not keep_checkpoint:
            self.drop_checkpoint()

    def write_unfinished(self, record: FitRecord, *, keep_checkpoint: bool) -> None:
        """Publish a failed or stopped fit; a shorter one that it went on from keeps its parts.

        Args:
            record: The fit.
            keep_checkpoint: Whether another try may go on from there.
        """
        before = _before(self.fit)
        if before is not None and before.parts:
            kept = before.spec.epochs if before.status == "done" else before.epochs_kept
            record = record.model_copy(update={"parts": before.parts, "epochs_kept": kept})
        self.write_fit(record, keep_checkpoint=keep_checkpoint)

    def has_longer_fit(self, epochs: int) -> bool:
        """Whether the store has a finished fit of more epochs."""
        fit = _before(self.fit)
        return fit is not None and fit.status == "done" and fit.spec.epochs > epochs

    def write_checkpoint(self, record: Checkpoint) -> None:
        """Publish a checkpoint in place of the one before, whose parts are removed after."""
        _replace(self.storage, "checkpoint.json", self.checkpoint, record)

    def drop_checkpoint(self) -> None:
        """Remove the checkpoint and its parts, unless the fit's manifest names them."""
        checkpoint = _before(self.checkpoint)
        self.storage.delete("checkpoint.json")
        if checkpoint is None:
            return
        fit = self.fit()
        named = {part.path for part in fit.parts.values()} if fit else set()
        for part in checkpoint.parts.values():
            if part.path not in named:
                self.storage.delete(part.path)

    def evaluation_storage(self, eval_id: str) -> Storage:
        """The folder of one evaluation."""
        return self.storage.sub(f"eval/{eval_id}")

    def evaluation(self, eval_id: str) -> EvalRecord | None:
        """The record of an evaluation, or None."""
        record = _read(self.evaluation_storage(eval_id), "manifest.json", EvalRecord)
        if record is not None and record.eval_id != eval_id:
            where = f"{self.storage.uri}/eval/{eval_id}/manifest.json"
            raise ForeignError(f"{where} is the record of evaluation {record.eval_id!r}")
        return self._own(record, f"eval/{eval_id}/manifest.json")

    def _own(self, record: P | None, path: str) -> P | None:
        """A record of this trial.

        Raises:
            ForeignError: If it is another one's that was put here.
        """
        if record is not None and record.trial_id != self.trial_id:
            raise ForeignError(
                f"{self.storage.uri}/{path} is a record of trial {record.trial_id!r}"
            )
        return record

    def write_evaluation(self, record: EvalRecord) -> None:
        """Publish an evaluation in place of the one before, if there is one."""
        folder = self.evaluation_storage(record.eval_id)
        _replace(folder, "manifest.json", partial(self.evaluation, record.eval_id), record)

    def read_part(self, record: FitRecord | Checkpoint | EvalRecord, name: str) -> bytes:
        """Read a part that a record names, checked against its checksum.

        Raises:
            DamagedError: If the record names no such part, or the part is missing.
            ChecksumError: If the part is damaged.
            StorageError: If it cannot be read.
        """
        part = record.parts.get(name)
        if part is None:
            raise DamagedError(f"the record of trial {self.trial_id} names no {name!r}")
        folder = self.storage
        if isinstance(record, EvalRecord):
            folder = self.evaluation_storage(record.eval_id)
        try:
            data = folder.read(part.path, part.sha256)
        except FileNotFoundError as error:
            raise DamagedError(f"{name!r} of trial {self.trial_id} is missing: {error}") from error
        if len(data) != part.size:
            raise DamagedError(
                f"{part.path!r} in {folder.uri!r} has {len(data)} bytes, its manifest says "
                f"{part.size}"
            )
        return data


@dataclass(frozen=True)
class StudyStore:
    """The folder of one study."""

    storage: Storage
    name: str

    @classmethod
    def open(cls, store: Storage, name: str) -> StudyStore:
        """The store of a study; nothing is created.

        Raises:
            ValueError: If the name is not safe as a folder name.
        """
        return cls(store.sub(f"studies/{check_study_name(name)}"), name)

    def trial(self, trial_id: str) -> TrialStore:
        """The store of one trial."""
        return TrialStore(self.storage.sub(f"trials/{trial_id}"), trial_id)

    def study(self) -> StudyRecord | None:
        """The study's record, or None if it has never been run.

        Raises:
            ForeignError: If it is another study's.
            DamagedError, NewerFileError: If it is that.
            StorageError: If it cannot be read.
        """
        record = _read(self.storage, "study.json", StudyRecord)
        if record is not None and record.study != self.name:
            raise ForeignError(
                f"{self.storage.uri}/study.json is the record of study {record.study!r}"
            )
        return record

    def described(self) -> DescribedStudy:
        """What the study's record tells of its detectors and data; nothing if it cannot be read.

        A record of ten thousand trials is read in a fraction of the time that all of it takes.
        """
        try:
            return DescribedStudy.model_validate_json(self.storage.read("study.json"))
        except (FileNotFoundError, StorageError, ValidationError):
            return DescribedStudy()

    def write_study(self, record: StudyRecord) -> None:
        """Replace the study's record; the index goes where it names settings otherwise."""
        is_named_otherwise = self.described().detectors != record.detectors
        _write(self.storage, "study.json", record)
        if is_named_otherwise:
            self.storage.delete("index.parquet")

    def copy(self, name: str) -> CopyRecord | None:
        """What a node has copied, by the name of its record, or None."""
        return _read(self.storage, f"copies/{name}", CopyRecord)

    def copies(self) -> list[CopyRecord]:
        """What nodes have copied, the earliest first."""
        found = (self.copy(name) for name in self.storage.names("copies"))
        return sorted((c for c in found if c is not None), key=lambda c: c.finished)

    def write_copy(self, record: CopyRecord) -> None:
        """Take note of what a node has copied."""
        _write(self.storage, f"copies/{uuid.uuid4().hex}.json", record)

    def progress(self) -> Progress | None:
        """The last heartbeat, or None."""
        return _read(self.storage, "progress.json", Progress)

    def write_progress(self, record: Progress) -> None:
        """Replace the heartbeat."""
        _write(self.storage, "progress.json", record)


def study_names(store: Storage) -> tuple[str, ...]:
    """Names of the studies in a store, sorted; folders without a ``study.json`` are left out."""
    names = (n for n in store.names("studies") if STUDY_NAME.fullmatch(n) and ".." not in n)
    return tuple(n for n in names if store.exists(f"studies/{n}/study.json"))


def _before(read: Callable[[], P | None]) -> P | None:
    """A record that is to go, or None; what a damaged one named, ``gc`` finds."""
    try:
        return read()
    except DamagedFileError:
        return None


def _read(storage: Storage, path: str, kind: type[R]) -> R | None:
    try:
        data = storage.read(path)
    except FileNotFoundError:
        return None
    return parse_record(kind, data, f"{storage.uri}/{path}")


def _replace(storage: Storage, path: str, read: Callable[[], P | None], record: P) -> None:
    """Write a record that names parts, then remove what only the one before it named."""
    before = _before(read)
    _write(storage, path, record)
    kept = {part.path for part in record.parts.values()}
    for part in before.parts.values() if before else ():
        if part.path not in kept:
            storage.delete(part.path)


def _write(storage: Storage, path: str, record: Record) -> None:
    storage.put(path, json_with_digest(record.model_dump_json(indent=1).encode()))
