"""Lesion masks that lie in a folder of their own, apart from the images.

Every image there is taken for a lesion mask, unless its name speaks of the brain and of no lesion.
It belongs to the scans whose subject label its path holds, whatever else is in the name:
``sub-01_T1w.nii.gz``, ``lesions/01/mask.nii``, ``01-lesion-by-rater-A.nii.gz``. A path that names
a modality belongs to scans of that modality alone, and of a subject with several sessions the path
has to name the session.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from datasets.formats import files_of
from datasets.scan import MODALITIES, Listing, Scan, Skipped, not_used
from datasets.sources._bids_names import LESION
from datasets.sources._files import HEADER_OF_NOTHING, Entry, Tree, walk

_Tokens = tuple[str, ...]
_MODALITY_WORDS = {
    **{name.lower(): name for name in MODALITIES},
    **{name.lower().removesuffix("w"): name for name in MODALITIES},
}


def with_masks(listing: Listing, root: Path, folder: Path) -> Listing:
    """A cohort's scans with the lesion masks of a folder, which replace those the scans had.

    Args:
        listing: The scans.
        root: Where they lie.
        folder: Where the masks lie; it may be below the other.

    Raises:
        SourceError: If the folder cannot be listed.
    """
    tree = walk(folder, "lesion masks")
    masks, skipped = _masks_of(listing.scans, tree)
    scans: list[Scan] = []
    for scan in listing.scans:
        found = masks.get(scan.scan_id, [])
        broken = next((entry for entry in found if entry.problem is not None), None)
        if broken is not None:
            reason = f"its lesion mask {broken.path.name} is unusable: {broken.problem}"
            skipped += not_used(scan, reason, frozenset())
            skipped += [Skipped(entry.path, entry.problem or _OF_BROKEN) for entry in found]
        elif found:
            scans.append(_replaced(scan, tuple(sorted(entry.path for entry in found))))
        else:
            scans.append(scan)
    used = frozenset(path for scan in scans for path in scan.files)
    skipped += [
        Skipped(path, _REPLACED)
        for scan in listing.scans
        for mask in scan.lesion_masks
        for path in files_of(mask)
        if path not in used
    ]
    is_below = folder.resolve().is_relative_to(root.resolve())
    return _accounted(listing, tuple(scans), skipped, tree, is_below=is_below)


def _accounted(
    listing: Listing,
    scans: tuple[Scan, ...],
    skipped: Sequence[Skipped],
    tree: Tree,
    *,
    is_below: bool,
) -> Listing:
    """The listing with every file of both folders once.

    Where the folder of masks is below the other, its files are counted there already: by
    themselves, or with a folder that the source does not look into.
    """
    used = frozenset(path for scan in scans for path in scan.files)
    before = frozenset(path for scan in listing.scans for path in scan.files)
    left_out = {item.path: item for item in listing.skipped}
    n_files = listing.n_files or 0
    if not is_below:
        left_out |= {item.path: item for item in tree.skipped}
        n_files += tree.n_files
        left_out |= {path: Skipped(path, HEADER_OF_NOTHING) for path in tree.headers}
    for item in reversed(skipped):
        if not is_below or item.path in left_out or item.path in before:
            left_out[item.path] = item
    for path in used:
        if left_out.pop(path, None) is None and is_below and path not in before:
            within = next((p for p in path.parents if p in left_out), None)
            if within is None:
                n_files += 1
            else:
                folder = left_out[within]
                left_out[within] = replace(folder, n_files=folder.n_files - 1)
    total = None if listing.n_files is None else n_files
    return Listing(scans, tuple(sorted(left_out.values())), total)


_REPLACED = "a mask that those of the folder of masks replace"
_OF_BROKEN = "a mask of a scan of which another mask is unusable"


def _replaced(scan: Scan, paths: tuple[Path, ...]) -> Scan:
    others = tuple(replace(s, lesion_masks=paths, lesion_labels=()) for s in scan.alternatives)
    return replace(scan, lesion_masks=paths, lesion_labels=(), alternatives=others)


def _masks_of(scans: Sequence[Scan], tree: Tree) -> tuple[dict[str, list[Entry]], list[Skipped]]:
    """The masks of each scan by its name, and the images that are no mask of any."""
    subjects: dict[_Tokens, set[str]] = defaultdict(set)
    by_subject: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        by_subject[scan.subject].append(scan)
        subjects[_tokens(scan.subject)].add(scan.subject)
        if scan.session:
            subjects[_tokens(scan.subject + scan.session)].add(scan.subject)
    longest = max(map(len, subjects), default=0)
    found: dict[str, list[Entry]] = defaultdict(list)
    skipped = []
    for entry in tree.entries:
        name = entry.stem.lower()
        if "brain" in name and not LESION.search(name):
            skipped.append(Skipped(entry.path, "by its name a mask of the brain"))
            continue
        words = _tokens("/".join((*entry.folder.relative_to(tree.root).parts, entry.stem)))
        runs = [run for run in _runs(words, longest) if run in subjects]
        best = max(map(len, ("".join(run) for run in runs)), default=0)
        named = {s for run in runs if len("".join(run)) == best for s in subjects[run]}
        fitting = [
            scan
            for subject in sorted(named)
            for scan in by_subject[subject]
            if _fits(scan, words, by_subject[subject])
        ]
        for scan in fitting:
            found[scan.scan_id].append(entry)
        if not fitting:
            skipped.append(
                Skipped(entry.path, "belongs by its name to no scan of the cohort, or to several")
            )
    return found, skipped


def _fits(scan: Scan, words: _Tokens, of_subject: Sequence[Scan]) -> bool:
    modalities = {_MODALITY_WORDS[word] for word in words if word in _MODALITY_WORDS}
    if modalities and scan.modality not in modalities:
        return False
    if len({other.session for other in of_subject}) == 1:
        return True
    session = _tokens(scan.session)
    runs = {*_runs(words, len(session) + 1)}
    if ("ses", *session) in runs or _tokens(scan.subject + scan.session) in runs:
        return True
    return session in runs and not scan.session.isdecimal()


def _tokens(text: str) -> _Tokens:
    return tuple(re.findall(r"[^\W_]+", text.lower()))


def _runs(words: _Tokens, longest: int) -> Iterator[_Tokens]:
    """All runs of neighbouring words up to a length."""
    for start in range(len(words)):
        for length in range(1, min(longest, len(words) - start) + 1):
            yield words[start : start + length]
