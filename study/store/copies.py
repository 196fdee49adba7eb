"""This machine's copies of slices that a store has no need of any more."""

from __future__ import annotations

import time
from pathlib import Path

from datasets.manifest import manifest_path
from datasets.slice_cache import SliceCache, default_cache
from datasets.slice_files import SetManifest
from datasets.storage import Storage

UNUSED_S = 30 * 86_400.0
"""Copies that nobody has used for so long go."""


def prune_copies(store: Storage, cache: str | None, *, dry_run: bool = False) -> list[Path]:
    """Remove copies of cohorts that are gone from a store, and what nobody has used for 30 days.

    Copies of other stores are kept while they are used, and so are those in use now.

    Args:
        store: The store.
        cache: Folder of the copies, or None for the user's own.
        dry_run: Only tell.

    Returns:
        The folders.

    Raises:
        StorageError: If the store cannot be reached.
    """
    folder = Path(cache).expanduser() if cache else default_cache()

    def is_needed(manifest: SetManifest, used: float) -> bool:
        if time.time() - used > UNUSED_S:
            return False
        if manifest.store != store.uri:
            return True
        return all(store.exists(manifest_path(key)) for key in manifest.cohorts)

    return SliceCache(folder, run="gc").prune(is_needed, dry_run=dry_run)
