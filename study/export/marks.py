"""What a folder of exported runs knows of them: a mark for each, written when it is whole."""

from __future__ import annotations

from pathlib import Path

from datasets.files import write_whole

_MARK = "exported-as"


def is_exported(folder: Path, fingerprint: str) -> bool:
    """Whether a run's folder holds these very figures."""
    try:
        return (folder / _MARK).read_text(encoding="utf-8") == fingerprint
    except OSError:
        return False


def mark(folder: Path, fingerprint: str) -> None:
    """Tell that a run's folder is whole."""
    write_whole(folder / _MARK, fingerprint.encode())
