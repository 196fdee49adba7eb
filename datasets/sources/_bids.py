"""Which mask belongs to which image in a BIDS folder.

A mask is known by its name: a ``label`` or ``desc`` entity, or a word, that speaks of a lesion or
of the brain (``label-lesion_mask``, ``desc-lesion_mask``, ``label-L_desc-T1lesion_mask``,
``lesion_roi``, ``lesion-manual``, ``desc-brain_mask``, ``brainmask``), but not of a part of the
brain (``brainstem``, ``hemi-L``) or of what surrounds a lesion (``perilesion``). Where the name
does not say of what it is, a JSON file beside it may (``"Type": "Lesion"``), or a table of its
labels (``_dseg.tsv``). It belongs to an image if

- the subject is the same;
- the session is the same; a mask without one is taken if the subject has one session only;
- the mask names no modality or the image's (``space-T1w``, ``desc-T1lesion``,
  ``_T2w_desc-lesion_mask``): a mask drawn on a FLAIR image is not laid over a T1w one;
- both name the same standard space, or none;
- every further entity that the mask has (acq, run, ...), the image has too, with the same value.

Images whose entities say that their contrast is another one (``ce-gadolinium``, ``mt-on``), or
that they are no magnitude (``part-imag``), are left out. Whatever is left over is reported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from datasets.scan import MODALITIES, Modality, Scan, Skipped, either, looked_at
from datasets.sources._bids_names import FOREIGN_FOLDERS, OTHER_IMAGE, BidsFile, Kind, describe
from datasets.sources._files import Entry, Tree, make_scan
from datasets.sources._sidecars import Sidecars

_NO_CONDITION = frozenset({"sub", "ses", "space", "label", "desc", "res", "den", "hemi", "from"})


_NOT_OURS: dict[Kind, str] = {
    "predicted": "a mask that study.apply has predicted is no truth",
    "unlike": "a mask of a part of the brain, or of what is not the lesion",
    "mask": (
        "looks like a mask, and neither its name nor a text beside it says of what; a JSON file "
        'of its name with "Type": "Lesion" would'
    ),
}


def bids_scans(
    tree: Tree, modalities: tuple[Modality, ...], *, at_any_depth: bool = False
) -> tuple[list[Scan | Skipped], list[Skipped], bool]:
    """Pair the images and masks of a BIDS folder.

    Args:
        tree: Everything named as an image below the folder.
        modalities: Those that are asked for, see :func:`datasets.scan.looked_at`.
        at_any_depth: Whether subject folders may lie below others, as in ATLAS R2.0.

    Returns:
        A scan, or why there is none, for each image; whatever else was
        left out; whether there was any image at its place.
    """
    sidecars = Sidecars(tree)
    described = (describe(entry, tree) for entry in tree.entries)
    files = [sidecars.understood(file) for file in described if file is not None]
    looked = looked_at(modalities)
    files = [
        replace(file, kind="other") if file.kind == "image" and file.suffix not in looked else file
        for file in files
    ]
    images, skipped, is_any = _images(files, at_any_depth)
    sessions: dict[str, set[str]] = defaultdict(set)
    for file in files:
        if file.kind == "image" and not file.derivative:
            sessions[file.subject].add(file.session)
    lesions, brains = _by_subject(files, "lesion"), _by_subject(files, "brain")
    found: list[Scan | Skipped] = []
    used: set[Entry] = set()
    for image in images:
        masks = _belonging(image, lesions[image.subject], sessions)
        brain = _belonging(image, brains[image.subject], sessions)
        used.update(mask.entry for mask in (*masks, *brain))
        found.append(_scan(image, masks, brain, skipped))
    skipped.extend(
        Skipped(file.entry.path, _NOT_OURS[file.kind]) for file in files if file.kind in _NOT_OURS
    )
    masks_of_all = [file for file in files if file.kind in ("lesion", "brain")]
    skipped.extend(_left_over(masks_of_all, used, looked))
    return found, skipped, is_any


def _by_subject(files: Sequence[BidsFile], kind: Kind) -> defaultdict[str, list[BidsFile]]:
    found: defaultdict[str, list[BidsFile]] = defaultdict(list)
    for file in files:
        if file.kind == kind:
            found[file.subject].append(file)
    return found


def _images(
    files: Sequence[BidsFile], at_any_depth: bool
) -> tuple[list[BidsFile], list[Skipped], bool]:
    """The images at their place, what lies beside them, and whether any image was at its place."""
    images: list[BidsFile] = []
    skipped: list[Skipped] = []
    is_any = False
    for file in files:
        if file.derivative or file.kind not in ("image", "other"):
            continue
        start = next((i for i, n in enumerate(file.folders) if n.startswith("sub-")), None)
        if start is None or (start > 0 and not at_any_depth):
            if file.kind == "image":
                reason = "not below a folder sub-* of the root"
                skipped.append(Skipped(file.entry.path, reason))
            continue
        reason = _misplaced(file, file.folders[start:]) or ""
        if file.kind == "image" and not reason:
            is_any = True
            reason = file.other_contrast
        if reason:
            skipped.append(Skipped(file.entry.path, reason))
        elif file.kind == "image":
            images.append(file)
    return images, skipped, is_any


def _misplaced(file: BidsFile, folders: tuple[str, ...]) -> str | None:
    if file.kind == "other":
        if OTHER_IMAGE.fullmatch(file.suffix) or folders[-1] != "anat":
            return None
        end = file.suffix or file.entry.stem.rpartition("_")[2]
        return f"the name ends in {end!r}; an image's ends in {either(prefix='_')}"
    if folders[-1] != "anat" or len(folders) > 3:
        return "not in the folder sub-*/anat or sub-*/ses-*/anat"
    if f"sub-{file.subject}" != folders[0]:
        return f"the name says sub-{file.subject}, the folder {folders[0]}"
    if len(folders) == 3 and f"ses-{file.session}" != folders[1]:
        return f"the name says ses-{file.session}, the folder {folders[1]}"
    return None


def _belonging(
    image: BidsFile, masks: Sequence[BidsFile], sessions: dict[str, set[str]]
) -> list[BidsFile]:
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
    image: BidsFile, lesions: list[BidsFile], brains: list[BidsFile], skipped: list[Skipped]
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
        modality=next(name for name in MODALITIES if name == image.suffix),
        lesions=[mask.entry for mask in lesions],
        brain_mask=usable[0].entry.path if usable else None,
        labels=[(mask.entry.path, mask.labels) for mask in lesions if mask.labels],
    )


def _left_over(
    masks: Sequence[BidsFile], used: set[Entry], modalities: tuple[Modality, ...]
) -> list[Skipped]:
    """Masks that belong to no image."""
    return [
        Skipped(
            mask.entry.path,
            f"a {mask.kind} mask that belongs to no {either(modalities)} image of its "
            "subject: session, modality, space or a further entity differs",
        )
        for mask in masks
        if mask.entry not in used
    ]


def why(entry: Entry) -> str:
    """Why an image is left out that is neither a scan's nor a mask that is named by itself."""
    folders = {folder.name for folder in entry.folder.parents} | {entry.folder.name}
    other = FOREIGN_FOLDERS & folders
    if "derivatives" in folders:
        return "in derivatives, and neither a lesion nor a brain mask"
    if other:
        return f"in folders called {min(other)!r}, which hold no anatomical image"
    if OTHER_IMAGE.fullmatch(entry.stem.rpartition("_")[2]):
        return "another contrast, which the cohort does not ask for"
    return "by its name no image or mask of this layout"
