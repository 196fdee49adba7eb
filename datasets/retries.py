"""Scans that were prepared again after they had been set aside, and came through.

A scan's key tells its content, so one that was set aside because a disk or the memory failed would
keep that verdict. Whoever has it tried again gets, if it comes through, a scan of another key in a
cohort of another key: what was computed without it stays what it was, and is not mixed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from datasets.identity import digest
from datasets.manifest import ScanRecord
from datasets.selfdigest import has_changed, json_with_digest
from datasets.storage import DamagedFileError, Storage

PATH = "shards/retries.json"

_MOST_RETRIES = 100


class _Retries(BaseModel):
    model_config = ConfigDict(extra="ignore")

    version: int = 1
    retries: dict[str, PositiveInt]


def read_retries(storage: Storage) -> dict[str, int]:
    """How often scans were tried again until they came through, by the key of their content.

    Raises:
        StorageError: If it cannot be read, or is damaged: without it, other cohorts would be meant.
    """
    try:
        data = storage.read(PATH)
    except FileNotFoundError:
        return {}
    sentence = (
        f"{PATH!r} in the store {storage.uri!r} is damaged; delete it, and prepare with "
        "--retry-set-aside what it had brought back"
    )
    if has_changed(data):
        raise DamagedFileError(sentence)
    try:
        return _Retries.model_validate_json(data).retries
    except ValidationError as error:
        raise DamagedFileError(sentence) from error


def write_retries(storage: Storage, retries: Mapping[str, int]) -> None:
    """Write what :func:`read_retries` reads.

    Raises:
        StorageError: If it cannot be written.
    """
    content = _Retries(retries=dict(sorted(retries.items())))
    storage.put(PATH, json_with_digest(content.model_dump_json(indent=1).encode()))


def retries_of(records: Iterable[ScanRecord]) -> dict[str, int]:
    """What :func:`read_retries` has to tell, as the scans' own records have it.

    Of a scan that came through later, the record under its first key still says that it was set
    aside.

    Args:
        records: Of all scans in a store.
    """
    by_key = {record.key: record for record in records}
    aside = [key for key, record in by_key.items() if record.status == "quarantined"]
    found = {}
    for key in aside:
        for count in range(1, _MOST_RETRIES + 1):
            record = by_key.get(retried_key(key, count))
            if record is not None and record.status == "ok":
                found[key] = count
    return found


def retried_key(content_key: str, count: int) -> str:
    """The key of a scan that came through when it was tried again so often; its own for 0."""
    return digest({"scan": content_key, "retries": count}) if count else content_key
