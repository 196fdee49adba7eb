"""Task01 of the Medical Segmentation Decathlon: BraTS, four contrasts in one file.

``imagesTr/BRATS_001.nii.gz`` has four volumes, ``labelsTr/BRATS_001.nii.gz`` the tumour;
``dataset.json`` tells which volume is which. ``imagesTs`` has no labels. http://medicaldecathlon.com
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from datasets.files import read_regular
from datasets.scan import Modality, Scan, Skipped
from datasets.sources._files import Entry, Tree, make_scan

_NAME = re.compile(r"BRATS_\d+")
_ORDER = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
"""Of the volumes, where there is no ``dataset.json``."""

_MODALITY: dict[str, Modality] = {
    "t1w": "T1w",
    "t1": "T1w",
    "t2w": "T2w",
    "t2": "T2w",
    "flair": "FLAIR",
}
_MOST_BYTES = 1 << 22


def decathlon_scans(
    tree: Tree, modalities: tuple[Modality, ...]
) -> tuple[list[Scan | Skipped], list[Skipped]]:
    """The scans of Task01 below a folder, one for each modality, and what was left out."""
    labels: dict[tuple[Path, str], list[Entry]] = {}
    images: list[Entry] = []
    skipped = []
    for entry in tree.entries:
        if not _NAME.fullmatch(entry.stem):
            continue
        if entry.folder.name == "imagesTr":
            images.append(entry)
        elif entry.folder.name == "labelsTr":
            labels.setdefault((entry.folder.parent, entry.stem), []).append(entry)
        elif entry.folder.name == "imagesTs":
            skipped.append(Skipped(entry.path, "an image of the challenge's test, without labels"))
    found: list[Scan | Skipped] = []
    used: set[Entry] = set()
    for image in images:
        masks = labels.get((image.folder.parent, image.stem), [])
        used.update(masks)
        volumes = _volumes(image.folder.parent)
        for number, modality in volumes.items():
            if modality not in modalities:
                continue
            found.append(
                make_scan(
                    image,
                    subject=image.stem,
                    session="",
                    modality=modality,
                    lesions=masks,
                    stripped=True,
                    volume=number,
                )
            )
    skipped += [
        Skipped(entry.path, "a lesion mask without an image of its own")
        for some in labels.values()
        for entry in some
        if entry not in used
    ]
    return found, skipped


def _volumes(folder: Path) -> dict[int, Modality]:
    """Which volume is of which modality."""
    order = _ORDER
    try:
        content = json.loads(read_regular(folder / "dataset.json", _MOST_BYTES))
        order = {str(k): str(v) for k, v in content["modality"].items()}
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        order = _ORDER
    return {
        int(number): _MODALITY[name.lower()]
        for number, name in sorted(order.items())
        if number.isdecimal() and len(number) < 4 and name.lower() in _MODALITY
    }
