"""What is in a cohort's folders, or which declaration would fit them."""

from __future__ import annotations

from pathlib import Path

from datasets import sources
from datasets.errors import NothingFoundError, SourceError
from datasets.mask_folder import with_masks
from datasets.plugins import load_plugin, plugin_names
from datasets.scan import MODALITIES, Listing
from study.prepare.cohorts import Cohort

_FOLDERS_TRIED = 20


def list_cohort(cohort: Cohort) -> Listing:
    """List what a cohort's source finds, with the masks of its second folder.

    Raises:
        SourceError: If a folder cannot be read as what it was declared to be; where another
            source, or a folder one below, would fit, the message names it.
    """
    try:
        listing: Listing = cohort.module.list_scans(cohort.root, cohort.modalities)
        return listing if cohort.masks is None else with_masks(listing, cohort.masks)
    except NothingFoundError as error:
        raise SourceError(f"cohort {cohort.name!r}: {error}{_better(cohort)}") from error
    except SourceError as error:
        raise SourceError(f"cohort {cohort.name!r}: {error}") from error


def _better(cohort: Cohort) -> str:
    """Which source would find scans in a folder, or in which one below it."""
    others = [name for name in plugin_names(sources) if name not in (cohort.source, "phantom")]
    for name in others:
        count = _count(name, cohort.root)
        if count:
            return f"; source = {name!r} would find {count} scans there"
    try:
        below = sorted(path for path in cohort.root.iterdir() if path.is_dir())
    except OSError:
        return ""
    for folder in below[:_FOLDERS_TRIED]:
        for name in (cohort.source, *others):
            count = _count(name, folder)
            if count:
                return f"; root = {str(folder)!r} with source = {name!r} would find {count} scans"
    return ""


def _count(source: str, root: Path) -> int:
    try:
        module = load_plugin(sources, source, "source")
        return len(module.list_scans(root, MODALITIES).scans)
    except (SourceError, ValueError, OSError):
        return 0
