"""What a source finds: scans by their paths, before any voxel is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

Modality = Literal["T1w", "T2w", "FLAIR"]
Role = Literal["train", "test"]
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
    """

    subject: str
    session: str
    modality: Modality
    image: Path
    lesion_masks: tuple[Path, ...] = ()
    brain_mask: Path | None = None
    stripped: bool | None = None

    @property
    def scan_id(self) -> str:
        """Name of the scan, unique within its cohort, safe as a file name."""
        return "_".join(part for part in (self.subject, self.session, self.modality) if part)


@dataclass(frozen=True, order=True)
class Skipped:
    """A file or folder that a source looked at and left out."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Listing:
    """The scans of a cohort, sorted, and what was left out and why."""

    scans: tuple[Scan, ...]
    skipped: tuple[Skipped, ...] = ()


class Source(Protocol):
    """What a module in ``datasets/sources`` provides."""

    def list_scans(self, root: Path, modalities: tuple[Modality, ...]) -> Listing:
        """List the scans below ``root`` without reading voxels.

        Raises:
            SourceError: If ``root`` does not exist or holds nothing of this layout; the message
                names the folder and the layout that was expected.
        """
