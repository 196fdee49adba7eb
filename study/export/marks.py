"""A folder for each run: written anew where its figures are others, and marked once it is whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from datasets.files import write_whole
from study.export.extras import Exported
from study.export.runs import Run

_MARK = "exported-as"


def write_folders(
    root: Path, runs: Sequence[Run], name: Callable[[Run], str], write: Callable[[Run, Path], None]
) -> Exported:
    """Write the runs whose folders are not there as they are.

    Args:
        root: Where the folders lie.
        runs: The runs.
        name: Of a run's folder.
        write: Writes a run into a folder, which is there and empty.
    """
    written = 0
    for run in runs:
        folder = root / name(run)
        if not _is_exported(folder, run.fingerprint):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write(run, folder)
            write_whole(folder / _MARK, run.fingerprint.encode())
            written += 1
    return Exported(written, len(runs) - written, str(root))


def _is_exported(folder: Path, fingerprint: str) -> bool:
    """Whether a run's folder holds these very figures."""
    try:
        return (folder / _MARK).read_text(encoding="utf-8") == fingerprint
    except OSError:
        return False
