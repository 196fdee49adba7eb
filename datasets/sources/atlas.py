"""ATLAS: chronic stroke, T1w, in the layouts of releases 1 and 2.

- R1.x: ``c0001/c0001s0004t01/c0001s0004t01_t1w_deface_stx.nii.gz`` with one or several
  ``*_LesionSmooth*_stx.nii.gz`` beside it; the files' own names vary between releases, so subject
  and session come from the folder (``Site1/031768/t01/...`` is known too)
- R2.0: BIDS below a folder for each site, perhaps below ``Training``:
  ``R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_T1w.nii.gz`` with ``*_label-L_*_mask.nii.gz``

Where a folder of release 1 holds several images, a mask belongs to the one whose name it begins
with. The union of a scan's lesion masks is its ground truth. Liew et al., Scientific Data 2018 and
2022.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from datasets.scan import Listing, Modality, Scan, Skipped
from datasets.sources._bids import bids_scans, why
from datasets.sources._files import Entry, Tree, close, make_scan, nothing_found, walk

LAYOUT = (
    "files such as c0001/c0001s0004t01/c0001s0004t01_t1w_deface_stx.nii.gz (R1) or "
    "R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_T1w.nii.gz (R2.0)"
)
_IMAGE = re.compile(r"(?P<name>.+?)_t1w(_deface)?_stx", re.IGNORECASE)
_LESION = re.compile(r".*_LesionSmooth.*_stx.*", re.IGNORECASE)
_FOLDER = re.compile(r"(?P<subject>c\d+s\d+)(?P<session>t\d+)")
_BEGINNING = re.compile(r"c\d+s\d+t\d+", re.IGNORECASE)
_SESSION = re.compile(r"t\d+")


def list_scans(root: Path, modalities: tuple[Modality, ...]) -> Listing:
    """List ATLAS's scans at any depth below ``root``, see ``datasets.scan.Source``.

    Raises:
        SourceError: If ``root`` does not exist or holds neither layout.
    """
    tree = walk(root, LAYOUT)
    first, first_skipped = _release_1(tree)
    second, second_skipped, _ = bids_scans(tree, modalities, at_any_depth=True)
    found = [*first, *second]
    if not found:
        raise nothing_found(tree, LAYOUT)
    return close(tree, found, [*first_skipped, *second_skipped], modalities, why)


def _release_1(tree: Tree) -> tuple[list[Scan | Skipped], list[Skipped]]:
    images: list[Entry] = []
    lesions: dict[Path, list[Entry]] = defaultdict(list)
    for entry in tree.entries:
        if _IMAGE.fullmatch(entry.stem):
            images.append(entry)
        elif _LESION.fullmatch(entry.stem):
            lesions[entry.folder].append(entry)
    found: list[Scan | Skipped] = []
    beside: dict[Path, set[str]] = defaultdict(set)
    for image in images:
        beside[image.folder].add(_name(image))
    owners = {folder: _by_owner(lesions.get(folder, []), names) for folder, names in beside.items()}
    used: set[Entry] = set()
    for image in images:
        subject, session = _subject_and_session(image, tree.root)
        masks = lesions.get(image.folder, [])
        if len(beside[image.folder]) > 1:
            masks = owners[image.folder].get(_name(image), [])
        else:
            masks = [mask for mask in masks if not _is_of_another(mask, image)]
        used.update(masks)
        scan = make_scan(image, subject=subject, session=session, modality="T1w", lesions=masks)
        found.append(scan)
    orphans = [
        Skipped(entry.path, "a lesion mask without a T1w image of its own beside it")
        for entries in lesions.values()
        for entry in entries
        if entry not in used
    ]
    return found, orphans


def _name(image: Entry) -> str:
    match = _IMAGE.fullmatch(image.stem)
    return match["name"] if match else image.stem


def _by_owner(masks: list[Entry], names: set[str]) -> dict[str, list[Entry]]:
    """Masks by the longest of the images' names that a mask's name begins with."""
    known = {name.lower(): name for name in names}
    found: dict[str, list[Entry]] = defaultdict(list)
    for mask in masks:
        stem = mask.stem.lower()
        for end in range(len(stem), 0, -1):
            if stem[:end] in known and not stem[end : end + 1].isalnum():
                found[known[stem[:end]]].append(mask)
                break
    return found


def _is_of_another(mask: Entry, image: Entry) -> bool:
    """Whether both names begin with a subject and a time point, and these differ."""
    begun = [_BEGINNING.match(name) for name in (mask.stem, _name(image))]
    return None not in begun and len({match[0].lower() for match in begun if match}) == 2


def _subject_and_session(image: Entry, root: Path) -> tuple[str, str]:
    """From the folder ``c0001s0004t01`` or ``031768/t01``; else from the file's name."""
    folder = image.folder
    name = _IMAGE.fullmatch(image.stem)
    for text in (folder.name, name["name"] if name else ""):
        match = _FOLDER.fullmatch(text)
        if match:
            return match["subject"], match["session"]
    if _SESSION.fullmatch(folder.name) and folder != root:
        return folder.parent.name, folder.name
    return (name["name"] if name else image.stem), ""
