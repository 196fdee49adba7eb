"""What the name of a file in a BIDS folder says: entities such as ``run-2``, words such as T1w."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from datasets.scan import MODALITIES
from datasets.sources._files import Entry, Tree

_DISEASE = (
    r"lesions?|(?<![a-z])les(?![a-z])|stroke|infarct(?:ion)?|tumou?r|glioma|metastas[ie]s|gtv|wmh|"
    r"whitematterhyperintensit(?:y|ies)|ha?emorrhage|abscess"
)
LESION = re.compile(
    r"(?P<before>non|not|no|without|peri|contra|mirror|mirrored|healthy|inverse|inverted|outside)?"
    rf"(?:{_DISEASE})(?P<after>free|mirror|mirrored|outside|inverse|inverted|al(?![a-z]))?"
)
_BRAIN = re.compile(r"brain(?P<stem>stem)?")
_MASK_SUFFIX = re.compile(
    r".*mask.*|.*(?:msk|roi|seg|label|labels)\d*|lesions?|les|tumou?r|stroke|infarct|wmh|gtv"
)
_ISLES_SUFFIX = "msk"
"""ISLES names its stroke masks by this word alone."""

_TISSUES = frozenset({"gm", "wm", "csf", "cgm", "sgm", "bone", "scalp", "skull", "bg", "air"})
OTHER_IMAGE = re.compile(
    r"FLAIR|PDw?|PDT2|UNIT1|MP2RAGE|MEGRE|MESE|VFA|IRT1|inplaneT[12]|angio|SWI|swi|dwi|TRACE|ADC|"
    r"CT|ct|T2starw?|T1rho|[A-Za-z0-9]+map|defacemask"
)
_DRAWN_ON = re.compile(
    r"(?:(?<![a-z])|(?<=lesion)|(?<=stroke)|(?<=tumor)|(?<=tumour)|(?<=infarct))"
    r"(?P<name>t1|t2|flair|dwi|adc|swi|pd|ct)w?(?![a-vx-z0-9])"
    r"|(?P<before>t1|t2|flair|dwi|adc|swi|pd|ct)w?(?=lesion|stroke|tumou?r|infarct)"
)
"""An image that a mask was drawn on, in lower case: ``T1lesion``, ``lesionDWI``, ``flair``."""

_NATIVE_SPACES = frozenset({"", "orig", "native", "individual", "scanner"})
FOREIGN_FOLDERS = frozenset({"func", "dwi", "fmap", "perf", "eeg", "meg", "sourcedata"})

_AGENT = re.compile(
    r"gad(?:o|ol|olin|olinium|avist|obutrol)?(?![a-z])|post(?:con|gd|ce|gad)|(?<![a-z])(?:gd|ce)(?![a-z])"
    r"|t1(?:gd|ce|c)(?![a-z])|contrast",
    re.IGNORECASE,
)
_NO_AGENT = re.compile(r"(?:pre|non|no|without|un)-?(?:con|gd|gad|ce(?![a-z]))", re.IGNORECASE)

Kind = Literal["image", "lesion", "brain", "unlike", "predicted", "mask", "other"]
"""``unlike`` is a mask of something else, ``predicted`` one by a detector of this project, ``mask``
one of which the name does not say of what."""


@dataclass(frozen=True)
class BidsFile:
    """An image or mask with what its name and folders say."""

    entry: Entry
    kind: Kind
    subject: str
    session: str
    entities: dict[str, str]
    words: tuple[str, ...]
    folders: tuple[str, ...]
    labels: tuple[int, ...] = ()

    @property
    def derivative(self) -> bool:
        """Whether it lies below a folder ``derivatives``."""
        return "derivatives" in self.folders

    @property
    def suffix(self) -> str:
        """The last word of its name."""
        return self.words[-1] if self.words else ""

    @property
    def modality(self) -> str:
        """The modality that the name speaks of, or nothing."""
        names = [*self.words, self.entities.get("space", "")]
        named = [name for name in names if name in MODALITIES or OTHER_IMAGE.fullmatch(name)]
        if named or self.kind == "image":
            return named[-1] if named else ""
        said = [*(self.entities.get(key, "") for key in ("desc", "label", "from")), *self.words]
        for text in said:
            match = _DRAWN_ON.search(text.lower())
            if match:
                name = (match["name"] or match["before"]).upper()
                return f"{name}w" if name in ("T1", "T2") else name
        return ""

    @property
    def space(self) -> str:
        """The standard space that the name speaks of; nothing for the scan's own."""
        space = self.entities.get("space", "")
        own = space in _NATIVE_SPACES or space in MODALITIES or OTHER_IMAGE.fullmatch(space)
        return "" if own else space

    @property
    def other_contrast(self) -> str:
        """Why it is no image of the contrast that its suffix names; empty if it is one."""
        agent = self.entities.get("ce", "")
        if agent and agent.lower() not in ("none", "no", "pre"):
            return f"taken with a contrast agent (ce-{agent}): its contrast is another one"
        for key in ("acq", "rec", "desc"):
            value = self.entities.get(key, "")
            if _AGENT.search(value) and not _NO_AGENT.search(value):
                return f"taken with a contrast agent ({key}-{value}): its contrast is another one"
        if self.entities.get("part", "mag") not in ("mag", "magnitude"):
            return f"part-{self.entities['part']}: not the magnitude of an image"
        if self.entities.get("mt") == "on":
            return "taken with magnetisation transfer (mt-on): its contrast is another one"
        return ""


def parse(stem: str) -> tuple[dict[str, str], list[str]]:
    """The entities of a name, and its words without a key."""
    entities: dict[str, str] = {}
    words: list[str] = []
    for part in stem.split("_"):
        key, dash, value = part.partition("-")
        if dash:
            entities[key] = value
        else:
            words.append(part)
    return entities, words


def describe(entry: Entry, tree: Tree) -> BidsFile | None:
    """Read a file's name; ``None`` if it is not of an anatomical image of some subject."""
    folders = entry.folder.relative_to(tree.root).parts
    entities, words = parse(entry.stem)
    subject = entities.get("sub") or _from_folder(folders, "sub-")
    if not subject or FOREIGN_FOLDERS.intersection(folders):
        return None
    if "task" in entities and folders[-1] != "anat":
        return None
    # A name ends in a word. Some end in an entity that says what is marked: lesion-manual.
    last = entry.stem.rpartition("_")[2].partition("-")[0]
    if last in entities and last not in ("sub", "ses"):
        if LESION.fullmatch(last.lower()):
            del entities[last]
            words.append(last)
        elif _MASK_SUFFIX.fullmatch(last.lower()):
            words.append(last)
        else:
            words.append("")
    session = entities.get("ses") or _from_folder(folders, "ses-")
    kind = _kind(entities, words)
    return BidsFile(entry, kind, subject, session, entities, tuple(words), folders)


def _from_folder(folders: Sequence[str], prefix: str) -> str:
    return next((name[len(prefix) :] for name in folders if name.startswith(prefix)), "")


def _kind(entities: dict[str, str], words: Sequence[str]) -> Kind:
    suffix = words[-1] if words else ""
    if suffix in MODALITIES:
        return "image"
    if not _MASK_SUFFIX.fullmatch(suffix.lower()) or suffix == "defacemask":
        return "other"
    label = entities.get("label", "")
    said = [label, entities.get("desc", ""), *words]
    lesions = [match for word in said for match in LESION.finditer(word.lower())]
    if _BRAIN.search(suffix.lower()):
        lesions = []  # the brain's mask of a patient
    if lesions or label == "L" or suffix == _ISLES_SUFFIX:
        return "unlike" if any(m["before"] or m["after"] for m in lesions) else "lesion"
    brains = [match for word in said for match in _BRAIN.finditer(word.lower())]
    if brains:
        is_part = "hemi" in entities or any(match["stem"] for match in brains)
        return "unlike" if is_part else "brain"
    return "unlike" if label.lower() in _TISSUES or "hemi" in entities else "mask"
