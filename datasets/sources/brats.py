"""BraTS: brain tumours, distributed without skull, in the names of every year.

- 2017 and 2018: ``HGG/<case>/<case>_t1.nii.gz``, ``_t2``, ``_seg`` (or below ``LGG``)
- 2020 and 2021: ``BraTS20_Training_001/BraTS20_Training_001_t1.nii.gz``, also ``.nii``
- from 2023: ``BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1n.nii.gz``, ``-t2w``, ``-seg``

All may be mixed below one root. The names from 2023 end in a time point, which becomes the
session, so that a patient who was scanned twice remains one subject. T1w images with contrast
agent are passed over, and so is FLAIR (``_flair``, ``-t2f``) unless it is asked for.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from datasets.scan import Listing, Modality, Scan, Skipped, either, looked_at
from datasets.sources._files import Entry, close, make_scan, nothing_found, walk

LAYOUT = (
    "files such as HGG/CASE/CASE_t1.nii.gz, BraTS20_Training_001/BraTS20_Training_001_t1.nii.gz "
    "or BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1n.nii.gz"
)
_NAME = re.compile(r"(?P<case>.+)(?:_(?P<old>t1|t2|flair|seg)|-(?P<new>t1n|t2w|t2f|seg))")
_TIME_POINT = re.compile(r"(?P<subject>BraTS-.+-\d+)-(?P<session>\d{3})")
_Case = tuple[Path, str]
"""A folder and the name that the files of a case in it begin with."""
_MODALITY: dict[str, Modality] = {
    **{"t1": "T1w", "t2": "T2w", "flair": "FLAIR"},
    **{"t1n": "T1w", "t2w": "T2w", "t2f": "FLAIR"},
}


def list_scans(root: Path, modalities: tuple[Modality, ...]) -> Listing:
    """List BraTS's scans at any depth below ``root``, see ``datasets.scan.Source``.

    Raises:
        SourceError: If ``root`` does not exist or no file has a name of BraTS's.
    """
    tree = walk(root, LAYOUT)
    images: dict[_Case, list[tuple[Entry, Modality]]] = defaultdict(list)
    lesions: dict[_Case, list[Entry]] = defaultdict(list)
    odd_masks: dict[Path, list[Entry]] = defaultdict(list)
    for entry in tree.entries:
        name = _NAME.fullmatch(entry.stem)
        if name is None:
            # One case of 2020 is distributed with its mask under a name of the hospital's.
            if entry.stem.lower().endswith("_segm"):
                odd_masks[entry.path.parent].append(entry)
            continue
        kind = name["old"] or name["new"]
        case = (entry.path.parent, name["case"])
        if kind == "seg":
            lesions[case].append(entry)
        elif _MODALITY[kind] in looked_at(modalities):
            images[case].append((entry, _MODALITY[kind]))
    if not images:
        raise nothing_found(tree, LAYOUT)
    found: list[Scan | Skipped] = []
    cases = Counter(folder for folder, _ in images)
    for (folder, case_name), entries in images.items():
        time_point = _TIME_POINT.fullmatch(case_name)
        masks = lesions.get((folder, case_name), [])
        if not masks and cases[folder] == 1:
            masks = odd_masks.pop(folder, [])
        for entry, modality in entries:
            scan = make_scan(
                entry,
                subject=time_point["subject"] if time_point else case_name,
                session=time_point["session"] if time_point else "",
                modality=modality,
                # The same mask may lie there packed and unpacked; the union of both is it.
                lesions=masks,
                stripped=True,
            )
            found.append(scan)
    left = {case: entries for case, entries in lesions.items() if case not in images}
    left |= {(folder, ""): entries for folder, entries in odd_masks.items()}
    orphans = _orphans(left, looked_at(modalities))
    return close(found, [*tree.skipped, *orphans], modalities)


def _orphans(masks: Mapping[_Case, list[Entry]], modalities: tuple[Modality, ...]) -> list[Skipped]:
    return [
        Skipped(entry.path, f"a lesion mask without a {either(modalities)} image beside it")
        for entries in masks.values()
        for entry in entries
    ]
