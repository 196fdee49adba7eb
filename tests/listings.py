"""Folders of files for the sources, and what a listing says of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.scan import Listing, Scan


def put(root: Path, *names: str) -> None:
    """Files that no NIfTI reader would take: a listing must not look inside."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"voxels are none of a listing's business")


def ids(listing: Listing) -> list[str]:
    return [scan.scan_id for scan in listing.scans]


def masks(root: Path, scan: Scan) -> list[str]:
    return [path.relative_to(root).as_posix() for path in scan.lesion_masks]


def reasons(listing: Listing) -> dict[str, str]:
    return {skipped.path.name: skipped.reason for skipped in listing.skipped}


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A folder, and no right beyond those of a file's mode, even where tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        root, nobody = os.geteuid() == 0, 65534
        try:
            if root:
                os.chown(folder, nobody, nobody)
                os.seteuid(nobody)
            yield folder
        finally:
            if root:
                os.seteuid(0)
