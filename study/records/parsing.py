"""From the bytes of a JSON file to a validated record."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from datasets.collector import disable_gc
from datasets.selfdigest import has_changed
from datasets.storage import NewerFileError
from study.errors import DamagedError
from study.records.types import OLDEST_STORE_VERSION, STORE_VERSION, Record

R = TypeVar("R", bound=Record)


def parse_record(kind: type[R], data: bytes, where: str) -> R:
    """Validate a record's JSON.

    Args:
        kind: The record type.
        data: The file's bytes.
        where: What to call the file in an error.

    Raises:
        DamagedError: If it is damaged.
        NewerFileError: If it was written by a newer version of this software, or by one so old
            that its records cannot be read any more.
    """
    if has_changed(data):
        raise DamagedError(f"{where} is damaged: its content is not what was written")
    try:
        with disable_gc():
            record = kind.model_validate_json(data)
    except ValidationError as error:
        _check_claimed_version(data, where)
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"])
        raise DamagedError(f"{where} is damaged: {place or 'JSON'}: {first['msg']}") from error
    _check_version(record, where)
    return record


def _check_claimed_version(data: bytes, where: str) -> None:
    """Refuse what is of another version before its fields look damaged."""
    try:
        record = Record.model_validate_json(data)
    except ValidationError:
        return  # no record at all
    _check_version(record, where)


def _check_version(record: Record, where: str) -> None:
    """Refuse a record of another version before it is misread."""
    version = record.store_version
    if "store_version" not in record.model_fields_set:
        raise DamagedError(f"{where} is damaged: store_version: Field required")
    if version > STORE_VERSION:
        raise NewerFileError(
            f"{where} was written by a newer version of this software (store version {version}, "
            f"this one reads up to {STORE_VERSION}); upgrade to read it"
        )
    if version < OLDEST_STORE_VERSION:
        raise NewerFileError(
            f"{where} was written by an older version of this software (store version {version}, "
            f"this one reads from {OLDEST_STORE_VERSION}); read it with the version that wrote it, "
            "or begin another store"
        )
