"""An earlier revision of the project beside this one, to measure both in turn."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]

REVISION = "4d0630a"
"""Before pixels were counted instead of sorted, and before the quantiles of brain masks."""


def is_there(revision: str) -> bool:
    """Whether this checkout has a revision; an archive or a shallow clone lacks it."""
    git = ["git", "-C", str(ROOT), "cat-file", "-e", f"{revision}^{{commit}}"]
    return subprocess.run(git, capture_output=True, check=False).returncode == 0


@contextmanager
def checkout(revision: str, folder: Path) -> Iterator[Path]:
    """A worktree of the project at a revision, below a folder."""
    tree = folder / "before"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(tree), revision], check=True)
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)
