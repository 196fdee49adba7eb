"""Lesion masks that lie in a folder of their own, apart from the images.

An image there belongs to the scans whose subject its path names: by an entity ``sub-01``, if it has
one, else by the label among its words (``lesions/01/mask.nii``, ``01-lesion-by-rater-A.nii.gz``,
``BraTS20_Training_001_seg.nii``), but not behind words such as ``run`` or ``rater``. A path that
names two subjects, or another session, run or contrast than the scan's, belongs to none; of a
subject with several sessions the path has to name one. What its name calls a mask of something else
(of the brain, a tissue, what surrounds a lesion, in a standard space) is left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from datasets.errors import SourceError
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
    folder = _below(root, folder)
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
    is_below = folder.is_relative_to(root)
    return _accounted(listing, tuple(scans), skipped, tree, is_below=is_below)


def _below(root: Path, folder: Path) -> Path:
    """The folder of masks, by its path below the root if it lies there by whatever path.

    Raises:
        SourceError: If the root lies in it, whose images would be taken for masks.
    """
    there, here = folder.resolve(), root.resolve()
    if here != there and here.is_relative_to(there):
        raise SourceError(f"the folder of masks {folder} holds the scans' own folder {root}")
    return root / there.relative_to(here) if there.is_relative_to(here) else folder


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
    images = {one.image for scan in scans for one in (scan, *scan.alternatives)}
    subjects = _Subjects(scans)
    found: dict[str, list[Entry]] = defaultdict(list)
    skipped = []
    for entry in tree.entries:
        if entry.path in images:
            continue
        path = "/".join((*entry.folder.relative_to(tree.root).parts, entry.stem))
        reason = _unlike(path, entry.stem)
        fitting = [] if reason else subjects.fitting(path)
        for scan in fitting:
            found[scan.scan_id].append(entry)
        if not fitting:
            reason = reason or "belongs by its name to no scan of the cohort, or to several"
            skipped.append(Skipped(entry.path, reason))
    return found, skipped


_UNLIKE = re.compile(
    r"brain|(?<![a-z])bet(?![a-z])|skull|scalp|(?<![a-z])(?:gm|wm|csf)(?![a-z])|probseg|"
    r"space-(?!orig|native|individual|scanner|t1w|t2w|flair)[a-z]"
)
_OTHER_WORDS = frozenset(["dwi", "adc", "swi", "ct", "pet", "pd", "perf", "bold"])


def _unlike(path: str, stem: str) -> str:
    """Why a name is not that of a lesion mask on the scan's own grid; empty if it may be."""
    name = stem.lower()
    lesions = [*LESION.finditer(name)]
    if any(match["before"] or match["after"] for match in lesions):
        return "by its name a mask of what is not the lesion"
    match = _UNLIKE.search(name)
    if match and not (lesions and match[0] == "brain"):
        return "by its name a mask of something else, or in another space"
    if _OTHER_WORDS.intersection(_tokens(path)):
        return "by its name drawn on an image of another kind"
    return ""


class _Subjects:
    """Finds the scans that a path names."""

    def __init__(self, scans: Sequence[Scan]) -> None:
        self._by_subject: dict[str, list[Scan]] = defaultdict(list)
        for scan in scans:
            self._by_subject[scan.subject].append(scan)
        self._labels: dict[_Tokens, set[str]] = defaultdict(set)
        for subject, own in self._by_subject.items():
            self._labels[_tokens(subject)].add(subject)
            for scan in own:
                if scan.session and not scan.session.isdecimal():
                    self._labels[_tokens(scan.subject + scan.session)].add(subject)
        self._longest = max(map(len, self._labels), default=0)

    def fitting(self, path: str) -> list[Scan]:
        """The scans of the subject, session and modality that a path names; of no other."""
        subject = self._named(path)
        own = self._by_subject.get(subject, []) if subject else []
        return [scan for scan in own if _fits(scan, path, own)]

    def _named(self, path: str) -> str:
        """The one subject that a path names, or nothing."""
        entities = {*_SUB.findall(path)}
        if entities:
            return entities.pop() if len(entities) == 1 else ""
        words = _tokens(path)
        runs = [
            run
            for start, run in _runs(words, self._longest)
            if run in self._labels and not (start and words[start - 1] in _NO_SUBJECT)
        ]
        # BraTS20_Training_001 is meant, and not a subject 001 beside it.
        whole = [run for run in runs if not any(_holds(other, run) for other in runs)]
        named = {subject for run in whole for subject in self._labels[run]}
        return named.pop() if len(named) == 1 else ""


def _holds(longer: _Tokens, run: _Tokens) -> bool:
    """Whether a run of words is part of a longer one."""
    last = len(longer) - len(run)
    return last > 0 and any(longer[i : i + len(run)] == run for i in range(last + 1))


_SUB = re.compile(r"(?:^|[/_])sub-([A-Za-z0-9]+)")
_NO_SUBJECT = frozenset(
    (
        *("ses", "session", "run", "rater", "reader", "acq", "rec", "echo"),
        *("batch", "part", "version", "v", "task", "desc", "label", "space"),
    )
)
"""Words whose values are no subjects."""


def _fits(scan: Scan, path: str, of_subject: Sequence[Scan]) -> bool:
    words = _tokens(path)
    name = scan.image.name.lower()
    # A session may be called t1.
    rest = _tokens(re.sub(r"(?:^|[/_])ses-[A-Za-z0-9]+", "", path))
    modalities = {_MODALITY_WORDS[word] for word in rest if word in _MODALITY_WORDS}
    if modalities and scan.modality not in modalities:
        return False
    for entity in ("run", "acq"):
        told, own = (
            re.findall(rf"(?:^|[/_]){entity}-([a-z0-9]+)", t) for t in (path.lower(), name)
        )
        if told and own and told[-1].lstrip("0") != own[-1].lstrip("0"):
            return False
    session = scan.session
    sessions = {*re.findall(r"(?:^|[/_])ses-([A-Za-z0-9]+)", path)}
    if sessions:
        return sessions == {session}
    runs = {run for _, run in _runs(words, len(_tokens(session)) + 1)}
    label = _tokens(scan.subject)
    if session and _tokens(scan.subject + session) in runs:
        return True
    for start, run in _runs(words, len(label)):
        behind = words[start + len(label) : start + len(label) + 1]
        # BraTS and UPENN write the time point behind the subject.
        both = (session, *behind)
        is_time_point = len(both) > 1 and all(one.isdecimal() for one in both)
        if run == label and is_time_point and len(behind[0]) == len(session):
            return behind[0] == session
    further = {other.session for other in of_subject} - {session}
    if not further:
        return True
    named = {one for one in (session, *further) if one and _tokens(one) in runs}
    return named == {session} and not session.isdecimal()


def _tokens(text: str) -> _Tokens:
    return tuple(re.findall(r"[^\W_]+", text.lower()))


def _runs(words: _Tokens, longest: int) -> Iterator[tuple[int, _Tokens]]:
    """All runs of neighbouring words up to a length, with where they begin."""
    for start in range(len(words)):
        for length in range(1, min(longest, len(words) - start) + 1):
            yield start, words[start : start + length]
