"""Finding NIfTI files in a folder without opening one, and closing a listing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets.errors import SourceError
from datasets.scan import Listing, Modality, Scan, Skipped


@dataclass(frozen=True)
class Entry:
    """Something whose name ends in ``.nii`` or ``.nii.gz``.

    Attributes:
        path: Where it lies.
        stem: Its name without that ending.
        problem: Why it cannot be read as a file; ``None`` if it can.
    """

    path: Path
    stem: str
    problem: str | None = None


@dataclass(frozen=True)
class Tree:
    """The NIfTI files below a folder.

    Attributes:
        root: The folder.
        entries: Sorted by path.
        skipped: Hidden files and folders that cannot be entered.
    """

    root: Path
    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]


def nifti_stem(name: str) -> str | None:
    """The name without ``.nii`` or ``.nii.gz`` (in any case); ``None`` if it has neither."""
    for ending in (".nii.gz", ".nii"):
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return None


def walk(root: Path, layout: str, leave_out: frozenset[str] = frozenset()) -> Tree:
    """Look at every name below a folder; links to folders are followed, loops are not.

    Args:
        root: The folder.
        layout: What was expected in it, for the error message.
        leave_out: Names of folders that are not entered.

    Raises:
        SourceError: If the folder does not exist, is no folder, or cannot be entered.
    """
    try:
        if not stat.S_ISDIR(os.stat(root).st_mode):
            raise SourceError(f"{root} is no folder: expected one that holds {layout}")
        os.listdir(root)
    except FileNotFoundError as error:
        raise SourceError(f"{root} does not exist: expected a folder with {layout}") from error
    except OSError as error:
        raise SourceError(f"{root} cannot be entered: {error.strerror}") from error
    entries: list[Entry] = []
    skipped: list[Skipped] = []
    for item in _items(root, frozenset(), leave_out):
        if isinstance(item, Entry):
            entries.append(item)
        else:
            skipped.append(item)
    return Tree(root, tuple(sorted(entries, key=lambda e: e.path)), tuple(sorted(skipped)))


def _items(
    folder: Path, above: frozenset[tuple[int, int]], leave_out: frozenset[str]
) -> Iterator[Entry | Skipped]:
    try:
        here = os.stat(folder)
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield Skipped(folder, f"the folder cannot be entered: {error.strerror}")
        return
    identity = (here.st_dev, here.st_ino)
    if identity in above:
        yield Skipped(folder, "a link back to a folder above it")
        return
    for name in names:
        path = folder / name
        stem = nifti_stem(name)
        if name.startswith("."):
            if stem is not None:
                yield Skipped(path, "hidden file")
        elif stem is not None:
            yield Entry(path, stem, _problem(path))
        elif name not in leave_out:
            try:
                is_folder = stat.S_ISDIR(os.stat(path).st_mode)
            except FileNotFoundError:
                continue  # a link to nothing
            except OSError as error:
                yield Skipped(path, f"cannot be looked at: {error.strerror}")
                continue
            if is_folder:
                yield from _items(path, above | {identity}, leave_out)


def _problem(path: Path) -> str | None:
    """Why a path cannot be read as a file, from its metadata alone."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "a link to a file that does not exist"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if stat.S_ISDIR(mode):
        return "a folder with the name of an image"
    if not stat.S_ISREG(mode):
        return "no regular file"
    effective = os.access in os.supports_effective_ids
    if not os.access(path, os.R_OK, effective_ids=effective):
        return "no permission to read it"
    return None


def nothing_found(tree: Tree, layout: str) -> SourceError:
    """The error for a folder in which nothing is named as the layout says."""
    more = f" ({tree.skipped[0].path}: {tree.skipped[0].reason})" if tree.skipped else ""
    return SourceError(f"{tree.root} holds no scan of this layout: expected {layout}{more}")


def make_scan(
    image: Entry,
    *,
    subject: str,
    session: str,
    modality: Modality,
    lesions: Iterable[Entry] = (),
    brain_mask: Path | None = None,
    stripped: bool | None = None,
) -> Scan | Skipped:
    """A scan, or why there is none.

    A scan whose lesion mask is there but cannot be read is left out: without that mask its lesion
    would count as healthy tissue.
    """
    lesions = tuple(lesions)
    if image.problem is not None:
        return Skipped(image.path, image.problem)
    for lesion in lesions:
        if lesion.problem is not None:
            reason = f"its lesion mask {lesion.path.name} is unusable: {lesion.problem}"
            return Skipped(image.path, reason)
    masks = tuple(sorted(lesion.path for lesion in lesions))
    return Scan(subject, session, modality, image.path, masks, brain_mask, stripped)


def close(
    found: Iterable[Scan | Skipped],
    skipped: Iterable[Skipped],
    modalities: tuple[Modality, ...],
) -> Listing:
    """Sort, and keep one scan for each subject, session and modality: the first by path.

    Args:
        found: What ``make_scan`` returned.
        skipped: What else was left out.
        modalities: Other modalities are dropped without a word: nobody asked for them.
    """
    left_out = list(skipped)
    scans: dict[str, Scan] = {}
    candidates = [item for item in found if isinstance(item, Scan)]
    left_out.extend(item for item in found if isinstance(item, Skipped))
    for scan in sorted(candidates, key=lambda s: s.image):
        if scan.modality not in modalities:
            continue
        first = scans.setdefault(scan.scan_id, scan)
        if first is not scan:
            reason = f"a second {scan.modality} image of the same subject and session as "
            left_out.append(Skipped(scan.image, reason + str(first.image)))
    ordered = sorted(scans.values(), key=lambda s: (s.subject, s.session, s.modality))
    return Listing(tuple(ordered), tuple(sorted(set(left_out))))
