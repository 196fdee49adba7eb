"""Brain tumours, distributed without skull: BraTS of every year, and what took its names over.

- 2017 and 2018: ``HGG/<case>/<case>_t1.nii.gz``, ``_t2``, ``_seg`` (or below ``LGG``), also
  ``<case>/t1.nii.gz``
- 2020 and 2021: ``BraTS20_Training_001/BraTS20_Training_001_t1.nii.gz``, also ``.nii``
- from 2023: ``BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1n.nii.gz``, ``-t2w``, ``-seg``
- UPENN-GBM: ``UPENN-GBM-00001_11_T1.nii.gz``, with ``_segm`` or, without one, ``_automated_approx_
  segm`` in any folder
- UCSF-PDGM: ``UCSF-PDGM-0004_T1.nii.gz``, ``_tumor_segmentation``
- Medical Segmentation Decathlon, Task01: ``imagesTr/BRATS_001.nii.gz`` of four volumes,
  ``labelsTr``

All may be mixed below one root. The names from 2023 end in a time point, as UPENN's do, which
becomes the session, so that a patient who was scanned twice remains one subject. T1w images with
contrast agent are passed over, and so is FLAIR (``_flair``, ``-t2f``) unless it is asked for.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from datasets.scan import Listing, Modality, Skipped, looked_at
from datasets.sources._decathlon import decathlon_scans
from datasets.sources._files import Entry, Tree, close, make_scan, nothing_found, walk

LAYOUT = (
    "files such as HGG/CASE/CASE_t1.nii.gz, BraTS20_Training_001/BraTS20_Training_001_t1.nii.gz, "
    "BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1n.nii.gz, UPENN-GBM-00001_11_T1.nii.gz, "
    "UCSF-PDGM-0004_T1.nii.gz or imagesTr/BRATS_001.nii.gz"
)
_MODALITY: dict[str, Modality] = {
    **{"t1": "T1w", "t2": "T2w", "flair": "FLAIR"},
    **{"t1n": "T1w", "t2w": "T2w", "t2f": "FLAIR"},
}
_OTHER_CONTRASTS = ("t1ce", "t1c", "t1gd")
_MASKS = ("seg", "segm", "tumor_segmentation", "automated_approx_segm")
"""In the order in which they are taken: one that a person has drawn comes first."""

_STRANGE = "segm"
_NUMBERED = re.compile(r"(?:Brats|UPENN|UCSF).*\d.*", re.IGNORECASE)
"""Names of cases, which no mask of another case has."""

_KINDS = "|".join(sorted((*_MODALITY, *_OTHER_CONTRASTS, *_MASKS), key=len, reverse=True))
_NAME = re.compile(
    rf"(?:(?P<case>.+?)_)?(?P<kind>{_KINDS})|(?P<new_case>.+)-(?P<new_kind>t1n|t1c|t2w|t2f|seg)",
    re.IGNORECASE,
)
_TIME_POINTS = (
    re.compile(r"(?P<subject>BraTS-.+-\d+)-(?P<session>\d{3})"),
    re.compile(r"(?P<subject>UPENN-GBM-\d+)_(?P<session>\d{2})"),
)
_Case = tuple[Path, str]
"""A folder and the name that the files of a case in it begin with."""


_Masks = dict[str, list[Entry]]
"""Masks by what their names say they are."""


@dataclass
class _Named:
    """What is below a folder, by the names of the files."""

    images: dict[_Case, list[tuple[Entry, Modality]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    masks: dict[_Case, _Masks] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    cases: set[str] = field(default_factory=set)

    def masks_of(self, folder: Path, case: str) -> list[Entry]:
        """The masks of a case: beside its images, else where its name is, else a strange one.

        Of several places with its name the one that has most folders in common with the images
        counts; where two have as many, none does. A strange mask is the only one in the folder of
        the only case there, under a name of the hospital's, as one case of 2020 has.
        """
        beside = self.masks.get((folder, case))
        if beside:
            return _best(beside)
        elsewhere = self._without_images.get(case, []) if case else []
        if elsewhere:
            near = [_common(folder, place) for place, _ in elsewhere]
            nearest = [
                masks for n, (_, masks) in zip(near, elsewhere, strict=True) if n == max(near)
            ]
            return _best(nearest[0]) if len(nearest) == 1 else []
        strange = [
            (other, kinds) for (place, other), kinds in self.masks.items() if place == folder
        ]
        if len(strange) != 1 or len(self._cases_in[folder]) != 1:
            return []
        other, kinds = strange[0]
        is_known = other in self.cases or _NUMBERED.fullmatch(other) is not None
        return [] if is_known else kinds.get(_STRANGE, [])

    @cached_property
    def _without_images(self) -> dict[str, list[tuple[Path, _Masks]]]:
        """Masks with no image of their case beside them, by the case."""
        found: dict[str, list[tuple[Path, _Masks]]] = defaultdict(list)
        for (folder, case), masks in self.masks.items():
            if (folder, case) not in self.images:
                found[case].append((folder, masks))
        return found

    @cached_property
    def _cases_in(self) -> dict[Path, set[str]]:
        found: dict[Path, set[str]] = defaultdict(set)
        for folder, case in self.images:
            found[folder].add(case)
        return found


def list_scans(root: Path, modalities: tuple[Modality, ...]) -> Listing:
    """List BraTS's scans at any depth below ``root``, see ``datasets.scan.Source``.

    Raises:
        SourceError: If ``root`` does not exist or no file has a name of BraTS's.
    """
    tree = walk(root, LAYOUT)
    named = _by_names(tree, looked_at(modalities))
    found, skipped = decathlon_scans(tree, looked_at(modalities))
    used: set[Entry] = set()
    for (folder, case), entries in named.images.items():
        masks = named.masks_of(folder, case)
        used.update(masks)
        subject, session = _subject_and_session(case or folder.name)
        found += [
            make_scan(
                entry,
                subject=subject,
                session=session,
                modality=modality,
                # The same mask may lie there packed and unpacked; the union of both is it.
                lesions=masks,
                stripped=True,
            )
            for entry, modality in entries
        ]
    if not found:
        raise nothing_found(tree, LAYOUT)
    return close(tree, found, [*skipped, *_left_over(named, used)], modalities, _why)


def _by_names(tree: Tree, modalities: tuple[Modality, ...]) -> _Named:
    found = _Named()
    for entry in tree.entries:
        name = _NAME.fullmatch(entry.stem)
        if name is None:
            continue
        kind = (name["kind"] or name["new_kind"]).lower()
        case = (entry.folder, name["case"] or name["new_case"] or "")
        if kind not in _MASKS:
            found.cases.add(case[1])
        if _MODALITY.get(kind) in modalities:
            found.images[case].append((entry, _MODALITY[kind]))
        elif kind in _MASKS:
            found.masks[case][kind].append(entry)
    return found


def _best(masks: _Masks) -> list[Entry]:
    """Of some masks those of the best kind."""
    return next((masks[kind] for kind in _MASKS if masks.get(kind)), [])


def _common(one: Path, other: Path) -> int:
    """How many folders two paths have in common."""
    same = [a == b for a, b in zip(one.parts, other.parts, strict=False)]
    return same.index(False) if False in same else len(same)


def _subject_and_session(case: str) -> tuple[str, str]:
    for pattern in _TIME_POINTS:
        match = pattern.fullmatch(case)
        if match:
            return match["subject"], match["session"]
    return case, ""


def _left_over(named: _Named, used: set[Entry]) -> list[Skipped]:
    masks = [e for kinds in named.masks.values() for some in kinds.values() for e in some]
    reason = "a lesion mask without an image of its own, or beside a better mask of its case"
    return [Skipped(entry.path, reason) for entry in masks if entry not in used]


def _why(entry: Entry) -> str:
    name = _NAME.fullmatch(entry.stem)
    kind = (name["kind"] or name["new_kind"]).lower() if name else ""
    if kind in _OTHER_CONTRASTS or kind in _MODALITY:
        return f"another contrast ({kind})"
    return "by its name no image or mask of this layout"
