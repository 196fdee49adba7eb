"""What the template of a cohort page is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

_OPEN_LISTS = 25


def ml(volume: float) -> str:
    """A volume as people read it: three digits, or all before the point."""
    return f"{volume:,.0f}" if volume >= 100 else f"{volume:.3g}"


@dataclass(frozen=True)
class Tile:
    """A large number at the top of a page."""

    name: str
    count: int
    warn: bool = False


@dataclass(frozen=True)
class Fact:
    """Something about a scan; marked if it is worth a look."""

    text: str
    warn: bool = False


@dataclass(frozen=True)
class VoxelRow:
    """How many scans have voxels of a size, and of which shapes."""

    spacing: str
    shapes: str
    count: int


@dataclass(frozen=True)
class ValueRange:
    """The smallest, largest and middle one of some volumes, as people read them."""

    low: str
    high: str
    median: str


@dataclass(frozen=True)
class LesionFacts:
    """What a page says of the lesions of a modality."""

    histogram: Markup
    range: ValueRange | None
    sentences: str


@dataclass(frozen=True)
class ScanFigure:
    """A scan on the contact sheet; volumes in ml, 0 where there is none."""

    who: str
    title: str
    alt: str
    brain_ml: float
    lesion_ml: float
    axial: Markup
    sagittal: Markup
    facts: list[Fact]
    is_flagged: bool


@dataclass(frozen=True)
class ModalityPart:
    """What a page says of a modality; its figures are drawn one by one as they are asked for."""

    modality: str
    n_usable: int
    voxels: list[VoxelRow]
    tools: str
    median_wall_s: float
    brain_histogram: Markup
    brain_range: ValueRange | None
    lesions: LesionFacts | None
    figures: Iterator[ScanFigure]


@dataclass(frozen=True)
class ListEntry:
    """A line of a list; of a scan, if it has a name."""

    text: str
    name: str = ""


@dataclass(frozen=True)
class ListGroup:
    """A list that can be folded, and how many things it tells of."""

    title: str
    entries: list[ListEntry]
    count: int

    @property
    def is_open(self) -> bool:
        """Whether it is short enough to be shown at once."""
        return len(self.entries) <= _OPEN_LISTS


@dataclass(frozen=True)
class SetAside:
    """A scan that was set aside."""

    who: str
    modality: str
    reason: str
    image: str
