"""The cohort report: a page per cohort on which a person sees at a glance what is wrong.

A page is one file without scripts; it needs no network and prints well. What it says is worked out
here, how it looks is in ``templates/``.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median

import jinja2
from markupsafe import Markup

from datasets.lesions import record_notes
from datasets.manifest import ScanRecord
from datasets.scan import NO_IMAGE, Skipped
from datasets.shards import read_slices
from datasets.storage import Storage, StorageError
from study.prepare.accounts import by_reason
from study.prepare.contrasts import with_contrasts
from study.prepare.histogram import histogram
from study.prepare.listing import CohortListing
from study.prepare.losses import (
    lesion_in_dropped_slices_share,
    lesion_lost_by_resizing_share,
    lesion_outside_brain_share,
)
from study.prepare.noticed import kind_of, notes_of
from study.prepare.outlines import draw_scan
from study.prepare.page_parts import (
    Fact,
    LesionFacts,
    ListEntry,
    ListGroup,
    ModalityPart,
    ScanFigure,
    SetAside,
    Tile,
    ValueRange,
    VoxelRow,
    ml,
)

FLAGGED_OUTSIDE = 0.01
"""A share of the lesion outside the brain above this is worth a look."""

FLAGGED_LOST = 0.1
"""The same for a share of the lesion that slices do not show: resized away, or grown by resizing,
or in slices that were left out."""

_GRIDS_SHOWN = 10


def write_reports(
    listings: Sequence[CohortListing],
    store: Storage,
    folder: Path,
    drawn: Callable[[], None] = lambda: None,
) -> tuple[Path, ...]:
    """Write the pages of some prepared cohorts, ``NAME.html`` each.

    One scan is in memory at a time; the page of a cohort takes 15 KB a scan.

    Args:
        listings: The cohorts, all modalities of one beside each other.
        store: Where the shards lie.
        folder: Where the pages go; it exists.
        drawn: Called after each scan that was drawn.

    Returns:
        The pages.

    Raises:
        StorageError: If a shard cannot be read or a page cannot be written.
    """
    names = list(dict.fromkeys(listing.cohort.name for listing in listings))
    template = _template()
    pages = []
    for name, group in groupby(listings, key=lambda listing: listing.cohort.name):
        target = folder / f"{name}.html"
        try:
            told = [with_contrasts(listing, store) for listing in group]
            _write(target, template.generate(**_page(told, names, store, drawn)))
        except OSError as error:
            raise StorageError(f"cannot write the page {target}: {error.strerror}") from error
        pages.append(target)
    return tuple(pages)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _write(target: Path, text: Iterable[str]) -> None:
    # A file of its own: whatever lies there already, such as a pipe, is not opened.
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        # A path may hold bytes that are no text in any encoding.
        with aside.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(text)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def _page(
    listings: list[CohortListing], names: Sequence[str], store: Storage, drawn: Callable[[], None]
) -> dict[str, object]:
    """What the template is given."""
    records = [record for listing in listings for record in listing.records]
    usable = [r for r in records if r.status == "ok"]
    aside = [r for r in records if r.status == "quarantined"]
    skipped = listings[0].skipped
    return {
        "cohort": listings[0].cohort,
        "names": names,
        "tiles": (
            Tile("scans", len(usable)),
            Tile("subjects", len({r.subject for r in usable})),
            Tile("slices", sum(r.n_slices for r in usable)),
            Tile("set aside", len(aside), bool(aside)),
            *_file_tiles(listings[0]),
        ),
        "set_aside": [SetAside(_who(r), r.modality, r.reason, r.image) for r in aside],
        "modalities": [_modality(listing, store, drawn) for listing in listings],
        "notes": _notes(listings),
        "skipped": _skipped(skipped),
    }


def _modality(listing: CohortListing, store: Storage, drawn: Callable[[], None]) -> ModalityPart:
    usable = [r for r in listing.records if r.status == "ok"]
    tools = Counter(r.brain_tool for r in usable)
    brains = [r.brain_volume_ml for r in usable if r.brain_volume_ml is not None]
    return ModalityPart(
        modality=listing.modality,
        n_usable=len(usable),
        voxels=_voxels(usable),
        tools=", ".join(f"{tool} ({count})" for tool, count in sorted(tools.items())),
        median_wall_s=median(r.wall_s for r in usable) if usable else 0.0,
        brain_histogram=histogram(brains, "Brain volumes"),
        brain_range=_range(brains),
        lesions=_lesions(listing, usable),
        figures=_figures(usable, store, drawn),
    )


def _voxels(records: list[ScanRecord]) -> list[VoxelRow]:
    shapes: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for record in records:
        shapes[_times(f"{v:.3g}" for v in record.spacing_mm or ())].append(record.shape or ())
    ranked = sorted(shapes.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = [
        VoxelRow(spacing, _shape_range(found), len(found))
        for spacing, found in ranked[:_GRIDS_SHOWN]
    ]
    others = sum(len(found) for _, found in ranked[_GRIDS_SHOWN:])
    return [*rows, VoxelRow("others", "", others)] if others else rows


def _lesions(listing: CohortListing, records: list[ScanRecord]) -> LesionFacts | None:
    volumes = [r.lesion_volume_ml for r in records if r.lesion_volume_ml is not None]
    if not volumes:
        return None
    share = lesion_outside_brain_share(listing.manifest) if listing.manifest else None
    outside = "" if share is None else f"{share:.2%} of all lesion voxels lie outside the brain. "
    most = [r for r in records if (r.lesion_outside_brain_share or 0) > FLAGGED_OUTSIDE]
    sentences = (
        f"{outside}{len(most)} of {len(volumes)} scans have more than {FLAGGED_OUTSIDE:.0%} of "
        f"their lesion there. {_lost_in_total(listing)}"
    )
    return LesionFacts(histogram(volumes, "Lesion volumes"), _range(volumes), sentences.strip())


def _lost_in_total(listing: CohortListing) -> str:
    """What of a cohort's lesions its slices do not show; nothing if older records do not say."""
    if listing.manifest is None:
        return ""
    resized = lesion_lost_by_resizing_share(listing.manifest)
    dropped = lesion_in_dropped_slices_share(listing.manifest)
    if resized is None or dropped is None:
        return ""
    lost = [r for r in listing.records if r.status == "ok" and _much_lost(r)]
    return (
        f"Resizing {_resized(resized)}; {dropped:.1%} of all lesion voxels lie in slices with too "
        f"little brain. In {len(lost)} scans one of the two is more than {FLAGGED_LOST:.0%}."
    )


def _lost(record: ScanRecord) -> list[Fact]:
    """The same of one scan, each fact marked if it is large."""
    facts = []
    resized = record.lesion_lost_by_resizing_share
    dropped = record.lesion_in_dropped_slices_share
    if resized is not None:
        facts.append(Fact(f"resizing {_resized(resized)}", abs(resized) > FLAGGED_LOST))
    if dropped:
        facts.append(Fact(f"{dropped:.1%} in slices left out", dropped > FLAGGED_LOST))
    return facts


def _much_lost(record: ScanRecord) -> bool:
    shares = (record.lesion_lost_by_resizing_share, record.lesion_in_dropped_slices_share)
    return any(abs(share or 0.0) > FLAGGED_LOST for share in shares)


def _resized(share: float) -> str:
    return f"added {-share:.1%}" if share < 0 else f"took {share:.1%}"


def _range(values: list[float]) -> ValueRange | None:
    if not values:
        return None
    return ValueRange(*(ml(v) for v in (min(values), max(values), median(values))))


def _figures(
    records: list[ScanRecord], store: Storage, drawn: Callable[[], None]
) -> Iterator[ScanFigure]:
    kinds = Counter(
        kind for record in records for kind in {kind_of(n) for n in record_notes(record)}
    )
    usual = frozenset(kind for kind, count in kinds.items() if 2 * count > len(records))
    for record in records:
        yield _figure(record, store, usual)
        drawn()


def _figure(record: ScanRecord, store: Storage, usual: frozenset[str]) -> ScanFigure:
    """One scan; flagged if much of its lesion is lost, or a note is not that of most scans."""
    pictures = draw_scan(read_slices(store, record))
    facts = [Fact(f"brain {record.brain_volume_ml or 0:,.0f} ml")]
    if record.lesion_volume_ml is not None:
        facts.append(Fact(f"lesion {ml(record.lesion_volume_ml)} ml"))
    outside = record.lesion_outside_brain_share or 0.0
    if record.lesion_volume_ml:
        share = "under 0.1%" if 0 < outside < 0.001 else f"{outside:.1%}" if outside else "none"
        facts.append(Fact(f"{share} outside the brain", outside > FLAGGED_OUTSIDE))
        facts += _lost(record)
    facts.append(Fact(f"slice {pictures.slice_index}"))
    notes = record_notes(record)
    odd = any(kind_of(note) not in usual for note in notes)
    if notes:
        text = "1 note" if len(notes) == 1 else f"{len(notes)} notes"
        facts.append(Fact(text, odd))
    return ScanFigure(
        who=_who(record),
        title="\n".join((record.image, *notes)),
        alt=f"{_who(record)}, {record.modality}: axial and sagittal slice with the outlines of the "
        f"brain mask{'' if record.lesion_volume_ml is None else ' and the lesion'}",
        brain_ml=record.brain_volume_ml or 0.0,
        lesion_ml=record.lesion_volume_ml or 0.0,
        axial=Markup(pictures.axial),
        sagittal=Markup(pictures.sagittal),
        facts=facts,
        is_flagged=odd or outside > FLAGGED_OUTSIDE or _much_lost(record),
    )


def _notes(listings: Sequence[CohortListing]) -> list[ListGroup]:
    """What was noticed: notes that differ only in numbers and paths together, then each scan."""
    return _grouped(
        (kind_of(note), ListEntry(note, f"{name} {modality}" if name else ""))
        for _, modality, name, note in notes_of(listings)
    )


def _file_tiles(listing: CohortListing) -> tuple[Tile, ...]:
    files = listing.manifest.files if listing.manifest else None
    if files is None:
        return (Tile("files left out", sum(item.n_files for item in listing.skipped)),)
    return (
        Tile("files", files.below),
        Tile("files used", files.used),
        Tile("files set aside", files.set_aside),
        Tile("files left out", files.left_out),
    )


def _skipped(skipped: Sequence[Skipped]) -> list[ListGroup]:
    counts = by_reason(skipped)
    groups: dict[str, list[ListEntry]] = defaultdict(list)
    for item in skipped:
        more = f" and {item.n_files - 1} more" if item.n_files > 1 else ""
        groups[item.reason].append(ListEntry(f"{item.path}{more}"))
    order = sorted(groups, key=lambda reason: (reason.startswith(NO_IMAGE), reason))
    return [ListGroup(reason, groups[reason], counts[reason]) for reason in order]


def _grouped(entries: Iterable[tuple[str, ListEntry]]) -> list[ListGroup]:
    groups: dict[str, list[ListEntry]] = defaultdict(list)
    for title, entry in entries:
        groups[title].append(entry)
    return [ListGroup(title, found, len(found)) for title, found in sorted(groups.items())]


def _who(record: ScanRecord) -> str:
    return " ".join(part for part in (record.subject, record.session) if part)


def _shape_range(shapes: Iterable[tuple[int, ...]]) -> str:
    """Numbers of voxels along each axis, such as ``151–168 × 182–211 × 160``."""
    sides = ((min(side), max(side)) for side in zip(*shapes, strict=True))
    return _times(str(low) if low == high else f"{low}–{high}" for low, high in sides)


def _times(parts: Iterable[str]) -> str:
    return " × ".join(parts)
