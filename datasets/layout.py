"""The names of all files that a store has: what may be deleted, and what has to be checked.

A file whose name is none of these is somebody else's: it is told and never touched. docs/store.md
describes what is in each.
"""

from __future__ import annotations

import re
import uuid
from enum import StrEnum


class Kind(StrEnum):
    """What a file of a store is, by its name."""

    STUDY = "study"
    HEARTBEAT = "heartbeat"
    INDEX = "index"
    STATISTICS = "statistics"
    COPY = "copy"
    """What a node has copied."""
    FIT = "fit"
    CHECKPOINT = "checkpoint"
    FIT_PART = "part of a fit"
    EVALUATION = "evaluation"
    EVALUATION_PART = "part of an evaluation"
    SCAN = "scan"
    SLICES = "slices"
    COHORT = "cohort"
    CHECKSUMS = "checksums"
    RETRIES = "retries"
    UNFINISHED = "unfinished"
    """Written beside its place and not yet renamed."""
    SET_ASIDE = "set aside"
    """What ``study.store repair`` has taken out."""


DAMAGED = "damaged"
"""The folder of a store that takes what is set aside."""

ATTEMPT = r"attempts/[0-9a-f]{32}"
"""The folder of an attempt, below that of a manifest."""

_KEY = r"[0-9a-f]{20}"
_PART = rf"{ATTEMPT}/\w[\w-]*\.(?:json|parquet|safetensors)"
_STUDY = r"studies/[^/]+"
_TRIAL = rf"{_STUDY}/trials/[^/]+"
_EVAL = rf"{_TRIAL}/eval/[^/]+"
_UNFINISHED = r"\.\.?\w[\w.-]*\.[0-9a-f]{32}\.tmp"

_PATTERNS = {
    Kind.STUDY: rf"{_STUDY}/study\.json",
    Kind.HEARTBEAT: rf"{_STUDY}/progress\.json",
    Kind.INDEX: rf"{_STUDY}/index\.parquet",
    Kind.STATISTICS: rf"{_STUDY}/statistics\.parquet",
    Kind.COPY: rf"{_STUDY}/copies/[0-9a-f]{{32}}\.json",
    Kind.FIT: rf"{_TRIAL}/manifest\.json",
    Kind.CHECKPOINT: rf"{_TRIAL}/checkpoint\.json",
    Kind.FIT_PART: rf"{_TRIAL}/{_PART}",
    Kind.EVALUATION: rf"{_EVAL}/manifest\.json",
    Kind.EVALUATION_PART: rf"{_EVAL}/{_PART}",
    Kind.SCAN: rf"shards/scans/{_KEY}/record\.json",
    Kind.SLICES: rf"shards/scans/{_KEY}/slices-{_KEY}\.parquet",
    Kind.COHORT: rf"shards/{_KEY}/manifest\.json",
    Kind.CHECKSUMS: r"shards/checksums\.json",
    Kind.RETRIES: r"shards/retries\.json",
    Kind.UNFINISHED: (
        rf"(?:shards|shards/{_KEY}|shards/scans/{_KEY}|{_STUDY}|{_STUDY}/copies|{_TRIAL}"
        rf"|{_TRIAL}/{ATTEMPT}"
        rf"|{_EVAL}|{_EVAL}/{ATTEMPT})/{_UNFINISHED}"
    ),
    Kind.SET_ASIDE: rf"{DAMAGED}/.+",
}

_FOLDERS = re.compile(
    rf"shards(?:/scans(?:/{_KEY})?|/{_KEY})?|studies(?:/[^/]+(?:/trials|/copies)?)?"
    rf"|studies/[^/]+/trials/{_KEY}(?:/eval(?:/{_KEY})?)?"
    rf"|studies/[^/]+/trials/{_KEY}(?:/eval/{_KEY})?/(?:attempts|{ATTEMPT})"
)

_EXPRESSION = re.compile(
    "|".join(rf"(?P<k{number}>{text})" for number, text in enumerate(_PATTERNS.values()))
)
_KINDS = tuple(_PATTERNS)


def unfinished_name(name: str) -> str:
    """The name under which a file is written before it is renamed; another one each time."""
    return f".{name}.{uuid.uuid4().hex}.tmp"


def is_unfinished(name: str) -> bool:
    """Whether a file's name is one of :func:`unfinished_name`."""
    return re.fullmatch(_UNFINISHED, name) is not None


def is_folder_of_ours(path: str) -> bool:
    """Whether a path below a store is that of a folder that we make."""
    return _FOLDERS.fullmatch(path) is not None


def kind_of(path: str) -> Kind | None:
    """What a file of a store is, or None for one that is none of ours.

    Args:
        path: Its path below the store.
    """
    found = _EXPRESSION.fullmatch(path)
    if found is None or found.lastgroup is None:
        return None
    return _KINDS[int(found.lastgroup[1:])]
