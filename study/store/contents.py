"""What lies in a store: every file by its kind, and the records as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from datasets.layout import DAMAGED, Kind, kind_of
from datasets.local_tree import Entry
from datasets.storage import Storage
from study.records.parsing import parse_record
from study.records.studies import StudyStore
from study.records.types import Checkpoint, EvalRecord, FitRecord

TrialRecord: TypeAlias = FitRecord | Checkpoint | EvalRecord

RECORDS: dict[Kind, type[TrialRecord]] = {
    Kind.FIT: FitRecord,
    Kind.CHECKPOINT: Checkpoint,
    Kind.EVALUATION: EvalRecord,
}
"""The records of a trial, which name parts."""

PARTS = (Kind.FIT_PART, Kind.EVALUATION_PART)

_FOLDERS = ("shards", "studies")


@dataclass(frozen=True)
class Item:
    """Something in a store.

    Attributes:
        path: Path below the store.
        kind: What it is by its name; None for what is none of ours.
        entry: What it is by its nature.
    """

    path: str
    kind: Kind | None
    entry: Entry

    @property
    def folder(self) -> str:
        """The folder that it lies in, with a slash at its end."""
        return f"{self.path.rpartition('/')[0]}/"


def below(store: Storage, folder: str) -> list[Item]:
    """Everything below a folder of a store, sorted by path; links are not followed.

    Raises:
        StorageError: If the folder cannot be listed.
    """
    found = ((f"{folder}/{entry.path}", entry) for entry in store.entries(folder, recursive=True))
    return sorted(
        (Item(path, kind_of(path), entry) for path, entry in found), key=lambda item: item.path
    )


def contents(store: Storage) -> list[Item]:
    """Everything in a store, sorted by path, but what has been set aside.

    What lies beside our folders is told without what is in it.

    Raises:
        StorageError: If the store cannot be listed.
    """
    beside = [
        Item(entry.path, None, entry)
        for entry in store.entries(recursive=False)
        if not entry.is_folder or entry.path not in (*_FOLDERS, DAMAGED)
    ]
    return [*sorted(beside, key=lambda item: item.path), *_all(store)]


def _all(store: Storage) -> Iterator[Item]:
    for folder in _FOLDERS:
        yield from below(store, folder)


def read_trial_record(store: Storage, item: Item) -> TrialRecord:
    """A record of a trial, whosever it is.

    Args:
        store: The store.
        item: Of one of the kinds of :data:`RECORDS`.

    Raises:
        FileNotFoundError: If it has vanished.
        StorageError: If it does not count, or cannot be read.
    """
    assert item.kind is not None
    where = f"{store.uri}/{item.path}"
    return parse_record(RECORDS[item.kind], store.read(item.path), where)


def is_own(record: TrialRecord, item: Item) -> bool:
    """Whether a record is that of the place where it lies."""
    if isinstance(record, EvalRecord) and record.eval_id != evaluation_of(item.path):
        return False
    return record.trial_id == trial_of(item.path)[1]


def trial_of(path: str) -> tuple[str, str]:
    """The names of the study and trial that a path of a trial's file lies in."""
    _, study, _, trial, *_ = path.split("/")
    return study, trial


def evaluation_of(path: str) -> str:
    """The name of the folder of an evaluation's file."""
    return path.split("/")[5]


def study_folders(store: Storage) -> Iterator[StudyStore]:
    """The studies of a store that can be opened, whether or not they have a record."""
    for name in store.names("studies"):
        try:
            yield StudyStore.open(store, name)
        except ValueError:
            continue
