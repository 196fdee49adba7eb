"""Which mask belongs to which image in a BIDS folder.

A mask is known by its name: a ``label`` or ``desc`` entity, or a word without a key, that speaks
of a lesion or of the brain (``label-lesion_mask``, ``desc-lesion_mask``, ``label-L_desc-T1lesion_
mask``, ``lesion_roi``, ``desc-brain_mask``, ``brainmask``), but not of a part of the brain
(``brainstem``, ``hemi-L``) or of what surrounds a lesion (``perilesion``). It belongs to an image
if

- the subject is the same;
- the session is the same; a mask without one is taken if the subject has one session only;
- the mask names no modality or the image's (``space-T1w``, ``desc-T1lesion``,
  ``_T2w_desc-lesion_mask``): a mask drawn on a FLAIR image is not laid over a T1w one;
- both name the same standard space, or none;
- every further entity that the mask has (acq, run, ...), the image has too, with the same value.

Of several images of one subject, session and modality the one that has a lesion mask is used,
then the one with the plainest name. Whatever is left over is reported.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from datasets.scan import MODALITIES, Modality, Scan, Skipped, either, looked_at
from datasets.sources._files import Entry, Tree, make_scan

_LESION = re.compile(
    r"(?P<before>non|no|without|peri|contra|mirror|mirrored|healthy)?"
    r"(?:lesions?|stroke|infarct|tumou?r)(?P<after>free|mirror|mirrored)?"
)
_BRAIN = re.compile(r"brain(?P<stem>stem)?")
_MASK_SUFFIXES = frozenset(
    {"mask", "roi", "seg", "dseg", "probseg", "label", "lesion", "lesionmask", "brainmask"}
)
_OTHER_IMAGE = re.compile(
    r"FLAIR|PDw?|PDT2|UNIT1|MP2RAGE|MEGRE|MESE|VFA|IRT1|inplaneT[12]|angio|SWI|swi|dwi|TRACE|ADC|"
    r"CT|ct|T2starw?|T1rho|[A-Za-z0-9]+map|defacemask"
)
_NAMED_BY_DESC = re.compile(r"(?P<name>T1|T2|FLAIR|DWI|ADC)w?(?=lesion)", re.IGNORECASE)
_NATIVE_SPACES = frozenset({"", "orig", "native", "individual", "scanner"})
_NO_CONDITION = frozenset({"sub", "ses", "space", "label", "desc", "res", "den", "hemi", "from"})
_FOREIGN_FOLDERS = frozenset({"func", "dwi", "fmap", "perf", "eeg", "meg", "sourcedata"})

Kind = Literal["image", "lesion", "brain", "unlike", "other"]


@dataclass(frozen=True)
class _File:
    """A NIfTI file with what its name and folders say."""

    entry: Entry
    kind: Kind
    subject: str
    session: str
    entities: dict[str, str]
    words: tuple[str, ...]
    folders: tuple[str, ...]

    @property
    def derivative(self) -> bool:
        return "derivatives" in self.folders

    @property
    def modality(self) -> str:
        """The modality that the name speaks of, or nothing."""
        names = [*self.words, self.entities.get("space", "")]
        named = [name for name in names if name in MODALITIES or _OTHER_IMAGE.fullmatch(name)]
        if named:
            return named[-1]
        for key in ("desc", "label"):
            match = _NAMED_BY_DESC.match(self.entities.get(key, ""))
            if match:
                name = match["name"].upper()
                return f"{name}w" if name in ("T1", "T2") else name
        return ""

    @property
    def space(self) -> str:
        """The standard space that the name speaks of; nothing for the scan's own."""
        space = self.entities.get("space", "")
        own = space in _NATIVE_SPACES or space in MODALITIES or _OTHER_IMAGE.fullmatch(space)
        return "" if own else space


def bids_scans(
    tree: Tree, modalities: tuple[Modality, ...], *, at_any_depth: bool = False
) -> tuple[list[Scan | Skipped], list[Skipped], bool]:
    """Pair the images and masks of a BIDS folder.

    Args:
        tree: Everything named as an image below the folder.
        modalities: Those that are asked for, see :func:`datasets.scan.looked_at`.
        at_any_depth: Whether subject folders may lie below others, as in ATLAS R2.0.

    Returns:
        A scan, or why there is none, for each subject, session and modality; whatever else was
        left out; whether there was any image of these modalities.
    """
    files = [file for entry in tree.entries if (file := _describe(entry, tree)) is not None]
    looked = looked_at(modalities)
    for number, file in enumerate(files):
        if file.kind == "image" and file.words[-1] not in looked:
            files[number] = replace(file, kind="other")
    images, skipped = _images(files, at_any_depth)
    sessions: dict[str, set[str]] = defaultdict(set)
    for image in images:
        sessions[image.subject].add(image.session)
    lesions, brains = _by_subject(files, "lesion"), _by_subject(files, "brain")
    groups: dict[tuple[str, str, str], list[_File]] = defaultdict(list)
    for image in images:
        groups[image.subject, image.session, image.words[-1]].append(image)
    found: list[Scan | Skipped] = []
    used: set[Entry] = set()
    for group in groups.values():
        pairs = [(image, _belonging(image, lesions[image.subject], sessions)) for image in group]
        pairs.sort(key=lambda pair: (not pair[1], len(pair[0].entities), pair[0].entry.path))
        for image, masks in pairs:
            used.update(mask.entry for mask in masks)
            if image is not pairs[0][0]:
                reason = "a further image of the subject and session; used is "
                found.append(Skipped(image.entry.path, reason + pairs[0][0].entry.path.name))
        image, masks = pairs[0]
        brain = _belonging(image, brains[image.subject], sessions)
        used.update(mask.entry for mask in brain)
        found.append(_scan(image, masks, brain, skipped))
    skipped.extend(
        Skipped(file.entry.path, "a mask of a part of the brain, or of what is not the lesion")
        for file in files
        if file.kind == "unlike"
    )
    masks_of_all = [file for file in files if file.kind in ("lesion", "brain")]
    skipped.extend(_left_over(masks_of_all, used, looked))
    return found, skipped, bool(images)


def _by_subject(files: Sequence[_File], kind: Kind) -> defaultdict[str, list[_File]]:
    found: defaultdict[str, list[_File]] = defaultdict(list)
    for file in files:
        if file.kind == kind:
            found[file.subject].append(file)
    return found


def _describe(entry: Entry, tree: Tree) -> _File | None:
    """Read a file's name; ``None`` if it is not of an anatomical image of some subject."""
    folders = entry.path.relative_to(tree.root).parts[:-1]
    entities: dict[str, str] = {}
    words: list[str] = []
    for part in entry.stem.split("_"):
        key, dash, value = part.partition("-")
        if dash:
            entities[key] = value
        else:
            words.append(part)
    subject = entities.get("sub") or _from_folder(folders, "sub-")
    if not subject or "task" in entities or _FOREIGN_FOLDERS.intersection(folders):
        return None
    session = entities.get("ses") or _from_folder(folders, "ses-")
    kind = _kind(entities, words)
    return _File(entry, kind, subject, session, entities, tuple(words), folders)


def _from_folder(folders: Sequence[str], prefix: str) -> str:
    return next((name[len(prefix) :] for name in folders if name.startswith(prefix)), "")


def _kind(entities: dict[str, str], words: Sequence[str]) -> Kind:
    suffix = words[-1] if words else ""
    if suffix in MODALITIES:
        return "image"
    said = [entities.get("label", ""), entities.get("desc", ""), *words]
    if suffix.lower() in _MASK_SUFFIXES or "mask" in suffix.lower():
        lesions = [match for word in said for match in _LESION.finditer(word.lower())]
        if lesions or entities.get("label") == "L":
            return "unlike" if any(m["before"] or m["after"] for m in lesions) else "lesion"
        brains = [match for word in said for match in _BRAIN.finditer(word.lower())]
        if brains:
            is_part = "hemi" in entities or any(match["stem"] for match in brains)
            return "unlike" if is_part else "brain"
    return "other"


def _images(files: Sequence[_File], at_any_depth: bool) -> tuple[list[_File], list[Skipped]]:
    """The images at their place, and what lies beside them under another name."""
    images: list[_File] = []
    skipped: list[Skipped] = []
    for file in files:
        if file.derivative or file.kind not in ("image", "other"):
            continue
        start = next((i for i, n in enumerate(file.folders) if n.startswith("sub-")), None)
        if start is None or (start > 0 and not at_any_depth):
            continue
        reason = _misplaced(file, file.folders[start:])
        if reason is not None:
            skipped.append(Skipped(file.entry.path, reason))
        elif file.kind == "image":
            images.append(file)
    return images, skipped


def _misplaced(file: _File, folders: tuple[str, ...]) -> str | None:
    suffix = file.words[-1] if file.words else ""
    if file.kind == "other":
        if _OTHER_IMAGE.fullmatch(suffix) or folders[-1] != "anat":
            return None
        return f"the name ends in {suffix!r}; an image's ends in {either(prefix='_')}"
    if folders[-1] != "anat" or len(folders) > 3:
        return "not in the folder sub-*/anat or sub-*/ses-*/anat"
    if f"sub-{file.subject}" != folders[0]:
        return f"the name says sub-{file.subject}, the folder {folders[0]}"
    if len(folders) == 3 and f"ses-{file.session}" != folders[1]:
        return f"the name says ses-{file.session}, the folder {folders[1]}"
    return None


def _belonging(image: _File, masks: Sequence[_File], sessions: dict[str, set[str]]) -> list[_File]:
    """Those of a subject's masks that belong to an image."""
    one_session = len(sessions[image.subject]) == 1
    return [
        mask
        for mask in masks
        if (mask.session == image.session or (not mask.session and one_session))
        and mask.modality in ("", image.words[-1])
        and mask.space == image.space
        and all(
            _same(value, image.entities.get(key))
            for key, value in mask.entities.items()
            if key not in _NO_CONDITION
        )
    ]


def _same(one: str, other: str | None) -> bool:
    """Whether two values of an entity agree; ``run-1`` is ``run-01``."""
    if other is not None and one.isdecimal() and other.isdecimal():
        return int(one) == int(other)
    return one == other


def _scan(
    image: _File, lesions: list[_File], brains: list[_File], skipped: list[Skipped]
) -> Scan | Skipped:
    usable = [mask for mask in brains if mask.entry.problem is None]
    skipped.extend(
        Skipped(mask.entry.path, str(mask.entry.problem)) for mask in brains if mask not in usable
    )
    # A mask beside the image comes before one that some pipeline derived.
    usable.sort(key=lambda mask: (mask.derivative, len(mask.entities), mask.entry.path))
    for mask in usable[1:]:
        reason = f"a further brain mask of {image.entry.path.name}"
        skipped.append(Skipped(mask.entry.path, reason))
    return make_scan(
        image.entry,
        subject=image.subject,
        session=image.session,
        modality=cast(Modality, image.words[-1]),
        lesions=[mask.entry for mask in lesions],
        brain_mask=usable[0].entry.path if usable else None,
    )


def _left_over(
    masks: Sequence[_File], used: set[Entry], modalities: tuple[Modality, ...]
) -> list[Skipped]:
    """Masks that belong to no image."""
    return [
        Skipped(
            mask.entry.path,
            f"a {mask.kind} mask that belongs to no {either(modalities)} image of "
            f"sub-{mask.subject}: session, modality, space or a further entity differs",
        )
        for mask in masks
        if mask.entry not in used
    ]
