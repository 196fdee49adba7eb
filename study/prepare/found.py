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
        if cohort.masks is None:
            return listing
        return with_masks(listing, cohort.root, cohort.masks)
    except NothingFoundError as error:
        raise SourceError(f"cohort {cohort.name!r}: {error}{_better(cohort)}") from error
    except SourceError as error:
        raise SourceError(f"cohort {cohort.name!r}: {error}") from error


def _better(cohort: Cohort) -> str:
    """Which declaration finds most scans: a folder one below, another source, or both."""
    own, root = cohort.source, cohort.root
    others = [name for name in plugin_names(sources) if name not in (own, "phantom", "bids")]
    # Where two find as many, the nearer to what was written comes first; BIDS is what most mean.
    others = [*([] if own == "bids" else ["bids"]), *others]
    try:
        below = sorted(path for path in root.iterdir() if path.is_dir())[:_FOLDERS_TRIED]
    except OSError:
        below = []
    tried = [(own, folder) for folder in below] + [(name, root) for name in others]
    source, folder = max(tried, key=lambda pair: _count(*pair), default=(own, root))
    count = _count(source, folder)
    if not count:
        tried = [(name, folder) for folder in below for name in others]
        source, folder = max(tried, key=lambda pair: _count(*pair), default=(own, root))
        count = _count(source, folder)
    if not count:
        return ""
    where = "" if folder == root else f"root = {str(folder)!r} with "
    return f"; {where}source = {source!r} would find {count} scan{'s' if count > 1 else ''}"


def _count(source: str, root: Path) -> int:
    try:
        module = load_plugin(sources, source, "source")
        return len(module.list_scans(root, MODALITIES).scans)
    except (SourceError, ValueError, OSError):
        return 0
