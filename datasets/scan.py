"""What a source finds: scans by their paths, before any voxel is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from datasets.formats import files_of

Modality = Literal["T1w", "T2w", "FLAIR"]
Role = Literal["train", "test", "healthy"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
ONLY_IF_ASKED: frozenset[Modality] = frozenset({"FLAIR"})
"""What a cohort or grid has to name: the paper has none, and studies that are there have none."""

USUAL_MODALITIES: tuple[Modality, ...] = tuple(m for m in MODALITIES if m not in ONLY_IF_ASKED)


def looked_at(modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
    """Whose images a source looks at when some modalities are asked for.

    The usual ones always: they tell a subject's sessions and what a mask belongs to, so that a scan
    is the same whichever of them is asked for.
    """
    return tuple(m for m in MODALITIES if m in USUAL_MODALITIES or m in modalities)


def either(modalities: tuple[Modality, ...] = MODALITIES, prefix: str = "") -> str:
    """Modalities for a sentence: ``T1w, T2w or FLAIR``."""
    names = [prefix + modality for modality in modalities]
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


NO_IMAGE = "no image by its name"
"""What the reasons begin with for which texts, tables and the like are left out."""

FURTHER = "an image of a subject, session and modality of which a better one is used"
"""The reason for which the alternatives of a scan are left out."""


@dataclass(frozen=True, order=True)
class Scan:
    """One image of one subject, with the masks that belong to it.

    Attributes:
        subject: Subject label as the data set writes it, without a ``sub-`` prefix.
        session: Session or time-point label; empty if the data set has none.
        modality: One of ``MODALITIES``.
        image: Path of the NIfTI image.
        lesion_masks: Paths of the lesion masks; their union is the ground truth.
        brain_mask: Path of a brain mask that comes with the data, if any.
        stripped: Whether the data set distributes the image without skull. ``None`` means
            unknown, to be recognised from the voxels.
        lesion_labels: The values that are lesion, for masks that hold other structures as well.
        volume: Which volume of the image, from 0, if it holds one for each contrast.
        site: Where it was taken, if the name says so.
        alternatives: Further images of the subject, session and modality, the next best first.
    """

    subject: str
    session: str
    modality: Modality
    image: Path
    lesion_masks: tuple[Path, ...] = ()
    brain_mask: Path | None = None
    stripped: bool | None = None
    lesion_labels: tuple[tuple[Path, tuple[int, ...]], ...] = ()
    volume: int | None = None
    site: str = ""
    alternatives: tuple[Scan, ...] = ()

    @property
    def images(self) -> tuple[Path, ...]:
        """The image and the masks."""
        brain = () if self.brain_mask is None else (self.brain_mask,)
        return (self.image, *self.lesion_masks, *brain)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that these are made of."""
        return tuple(file for path in self.images for file in files_of(path))

    @property
    def scan_id(self) -> str:
        """Name of the scan, unique within its cohort, safe as a file name."""
        return "_".join(part for part in (self.subject, self.session, self.modality) if part)


@dataclass(frozen=True, order=True)
class Skipped:
    """What a source looked at and left out.

    Attributes:
        path: A file or folder; of several files, the first.
        reason: Why.
        n_files: How many files that are, 0 for a folder that could not be looked into.
    """

    path: Path
    reason: str
    n_files: int = 1


def not_used(scan: Scan, reason: str, used: frozenset[Path]) -> list[Skipped]:
    """The files of a scan that is left out, but for those that other scans use."""
    others = [path for path in scan.files if path not in (*files_of(scan.image), *used)]
    return [
        *(Skipped(path, reason) for path in files_of(scan.image) if path not in used),
        *(Skipped(path, "a mask of an image that is not used") for path in others),
    ]


@dataclass(frozen=True)
class Listing:
    """What is below a folder: every file belongs to a scan, or is left out with a reason.

    Attributes:
        scans: The scans, sorted.
        skipped: What was left out, sorted; the files of a scan's alternatives are among it.
        n_files: How many files lie there, whatever they are; ``None`` if the source does not count.
    """

    scans: tuple[Scan, ...]
    skipped: tuple[Skipped, ...] = ()
    n_files: int | None = None


class Source(Protocol):
    """What a module in ``datasets/sources`` provides."""

    def list_scans(self, root: Path, modalities: tuple[Modality, ...]) -> Listing:
        """List the scans below ``root`` without reading voxels.

        Raises:
            SourceError: If ``root`` does not exist or holds nothing of this layout; the message
                names the folder and the layout that was expected.
        """
