"""The cohort report: a page per cohort on which a person sees at a glance what is wrong.

A page is one file without scripts; it needs no network and prints well.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from statistics import median

import numpy as np

from datasets.manifest import ScanRecord
from datasets.shards import read_slices
from datasets.storage import Storage, StorageError
from study.prepare.cohorts import Cohort
from study.prepare.listing import CohortListing
from study.prepare.losses import (
    lesion_in_dropped_slices_share,
    lesion_lost_by_resizing_share,
    lesion_outside_brain_share,
)
from study.prepare.outlines import draw_scan
from study.prepare.page_style import STYLE

FLAGGED_OUTSIDE = 0.01
"""A share of the lesion outside the brain above this is worth a look."""

FLAGGED_LOST = 0.1
"""The same for a share of the lesion that slices do not show: resized away, or grown by resizing,
or in slices that were left out."""

_OPEN_LISTS = 25
_GRIDS_SHOWN = 10
_BINS = 24


def write_reports(
    listings: Sequence[CohortListing],
    store: Storage,
    folder: Path,
    drawn: Callable[[], None] = lambda: None,
) -> tuple[Path, ...]:
    """Write the pages of some prepared cohorts, ``NAME.html`` each.

    One scan is in memory at a time, and the page of one cohort, which takes 15 KB a scan.

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
    pages = []
    for name, group in groupby(listings, key=lambda listing: listing.cohort.name):
        target = folder / f"{name}.html"
        text = "".join(_page(list(group), names, store, drawn))
        try:
            _write(target, text)
        except OSError as error:
            raise StorageError(f"cannot write the page {target}: {error.strerror}") from error
        pages.append(target)
    return tuple(pages)


def _write(target: Path, text: str) -> None:
    aside = target.with_name(f".{target.name}.tmp")
    # A path may hold bytes that are no text in any encoding.
    aside.write_text(text, encoding="utf-8", errors="backslashreplace")
    aside.replace(target)


def _page(
    listings: list[CohortListing], names: Sequence[str], store: Storage, drawn: Callable[[], None]
) -> Iterator[str]:
    cohort = listings[0].cohort
    records = [record for listing in listings for record in listing.records]
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(cohort.name)}: cohort report</title><style>{STYLE}</style></head><body>\n"
    )
    links = (
        f"<b>{name}</b>" if name == cohort.name else f'<a href="{name}.html">{name}</a>'
        for name in names
    )
    yield f"<nav>{''.join(links)}</nav>\n" if len(names) > 1 else ""
    yield _head(cohort, listings, records)
    yield _aside([r for r in records if r.status == "quarantined"])
    for listing in listings:
        yield from _modality(listing, store, drawn)
    yield _notes(records)
    yield _skipped(listings[0].skipped)
    yield "</body></html>\n"


def _head(cohort: Cohort, listings: list[CohortListing], records: list[ScanRecord]) -> str:
    usable = [r for r in records if r.status == "ok"]
    role = "healthy, for training" if cohort.role == "train" else "with lesions, for testing"
    synthetic = (
        '<p class="banner"><b>Synthetic phantom.</b> These heads are made by software. What is '
        "measured on them checks the software and is no evidence about medicine.</p>"
        if cohort.synthetic
        else ""
    )
    tiles = (
        ("scans", len(usable), False),
        ("subjects", len({r.subject for r in usable}), False),
        ("slices", sum(r.n_slices for r in usable), False),
        ("set aside", len(records) - len(usable), len(usable) < len(records)),
        ("files left out", len(listings[0].skipped), False),
    )
    return (
        f'<h1>{escape(cohort.name)}</h1><p class="sub">{role} · layout {escape(cohort.source)} · '
        f"{escape(str(cohort.root))}</p>{synthetic}"
        f'<div class="tiles">{"".join(_tile(*tile) for tile in tiles)}</div>\n'
    )


def _tile(name: str, count: int, warn: bool) -> str:
    kind = "tile warn" if warn else "tile"
    return f'<div class="{kind}"><b>{count:,}</b><span>{name}</span></div>'


def _aside(records: Iterable[ScanRecord]) -> str:
    rows = [
        f"<tr><td>{escape(_who(r))}</td><td>{r.modality}</td><td>{escape(r.reason)}"
        f'</td><td class="file">{escape(r.image)}</td></tr>'
        for r in records
    ]
    if not rows:
        return "<h2>Set aside</h2><p>No scan.</p>\n"
    head = "<tr><th>subject</th><th>image</th><th>reason</th><th>file</th></tr>"
    return f"<h2>Set aside</h2><table>{head}{''.join(rows)}</table>\n"


def _modality(listing: CohortListing, store: Storage, drawn: Callable[[], None]) -> Iterator[str]:
    usable = [r for r in listing.records if r.status == "ok"]
    yield f"<h2>{listing.modality}</h2>"
    if not usable:
        yield "<p>No scan can be used.</p>\n"
        return
    yield f'<div class="facts">{_grids(usable)}{_brains(usable)}{_lesions(listing, usable)}</div>'
    yield '<h3>Contact sheet <span class="key sub"><i class="brain"></i>brain'
    yield '<i class="lesion"></i>lesion</span></h3><div class="sheet">\n'
    kinds = Counter(kind for record in usable for kind in {_kind(n) for n in record.notes})
    usual = frozenset(kind for kind, count in kinds.items() if 2 * count > len(usable))
    for record in usable:
        yield _figure(record, store, usual)
        drawn()
    yield "</div>\n"


def _grids(records: list[ScanRecord]) -> str:
    shapes: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for record in records:
        shapes[_times(f"{v:.3g}" for v in record.spacing_mm or ())].append(record.shape or ())
    ranked = sorted(shapes.items(), key=lambda item: (-len(item[1]), item[0]))
    rows = [
        f'<tr><td>{spacing}</td><td>{_shape_range(found)}</td><td class="n">{len(found)}</td></tr>'
        for spacing, found in ranked[:_GRIDS_SHOWN]
    ]
    if len(ranked) > _GRIDS_SHOWN:
        others = sum(len(found) for _, found in ranked[_GRIDS_SHOWN:])
        rows.append(f'<tr><td>others</td><td></td><td class="n">{others}</td></tr>')
    tools = Counter(r.brain_tool for r in records)
    told = ", ".join(f"{escape(tool)} ({count})" for tool, count in sorted(tools.items()))
    took = median(r.wall_s for r in records)
    return (
        "<div><h3>Voxels, left-right × back-front × bottom-top</h3><table><tr><th>mm</th>"
        f'<th>voxels</th><th>scans</th></tr>{"".join(rows)}</table><p class="sub">Brain mask: '
        f"{told}. Half of the scans took less than {took:.1f} s.</p></div>"
    )


def _brains(records: list[ScanRecord]) -> str:
    volumes = [r.brain_volume_ml for r in records if r.brain_volume_ml is not None]
    return f"<div><h3>Brain volume, ml</h3>{histogram(volumes)}{_range(volumes, 'ml')}</div>"


def _lesions(listing: CohortListing, records: list[ScanRecord]) -> str:
    volumes = [r.lesion_volume_ml for r in records if r.lesion_volume_ml is not None]
    if not volumes:
        return ""
    share = lesion_outside_brain_share(listing.manifest) if listing.manifest else None
    outside = "" if share is None else f"{share:.2%} of all lesion voxels lie outside the brain. "
    most = [r for r in records if (r.lesion_outside_brain_share or 0) > FLAGGED_OUTSIDE]
    return (
        f"<div><h3>Lesion volume, ml</h3>{histogram(volumes)}{_range(volumes, 'ml')}"
        f'<p class="sub">{outside}{len(most)} of {len(volumes)} scans have more than '
        f"{FLAGGED_OUTSIDE:.0%} of their lesion there. {_lost_in_total(listing)}</p></div>"
    )


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


def _lost(record: ScanRecord) -> list[str]:
    """The same of one scan, each fact marked if it is large."""
    facts = []
    resized = record.lesion_lost_by_resizing_share
    dropped = record.lesion_in_dropped_slices_share
    if resized is not None:
        facts.append(_marked(f"resizing {_resized(resized)}", abs(resized) > FLAGGED_LOST))
    if dropped:
        facts.append(_marked(f"{dropped:.1%} in slices left out", dropped > FLAGGED_LOST))
    return facts


def _much_lost(record: ScanRecord) -> bool:
    shares = (record.lesion_lost_by_resizing_share, record.lesion_in_dropped_slices_share)
    return any(abs(share or 0.0) > FLAGGED_LOST for share in shares)


def _resized(share: float) -> str:
    return f"added {-share:.1%}" if share < 0 else f"took {share:.1%}"


def _marked(text: str, warn: bool) -> str:
    return f"<em>{text}</em>" if warn else text


def _range(values: list[float], unit: str) -> str:
    if not values:
        return ""
    low, middle, high = min(values), median(values), max(values)
    return f'<p class="sub">{low:,.4g} to {high:,.4g} {unit}, median {middle:,.4g}</p>'


def histogram(values: Sequence[float]) -> str:
    """A small histogram as SVG; equal values make one bar in the middle."""
    if not values:
        return ""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 1, high + 1
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    width, height = 280 / _BINS, 80
    bars = "".join(
        f'<rect x="{5 + i * width:.1f}" y="{5 + height * (1 - n / counts.max()):.1f}" '
        f'width="{width - 1:.1f}" height="{height * n / counts.max():.1f}"><title>{int(n)} from '
        f"{edges[i]:.4g} to {edges[i + 1]:.4g}</title></rect>"
        for i, n in enumerate(counts)
        if n
    )
    return (
        '<svg class="histogram" viewBox="0 0 290 102" role="img"><line x1="5" x2="285" y1="85.5" '
        f'y2="85.5"/>{bars}<text x="5" y="98">{low:.4g}</text>'
        f'<text x="285" y="98" text-anchor="end">{high:.4g}</text></svg>'
    )


def _figure(record: ScanRecord, store: Storage, usual: frozenset[str]) -> str:
    """One scan; marked if much of its lesion is lost, or a note is not that of most scans."""
    pictures = draw_scan(read_slices(store, record))
    facts = [f"brain {record.brain_volume_ml or 0:,.0f} ml"]
    if record.lesion_volume_ml is not None:
        facts.append(f"lesion {record.lesion_volume_ml:,.3g} ml")
    outside = record.lesion_outside_brain_share or 0.0
    if record.lesion_volume_ml:
        share = "under 0.1%" if 0 < outside < 0.001 else f"{outside:.1%}" if outside else "none"
        text = f"{share} outside the brain"
        facts.append(_marked(text, outside > FLAGGED_OUTSIDE))
        facts += _lost(record)
    facts.append(f"slice {pictures.slice_index}")
    odd = any(_kind(note) not in usual for note in record.notes)
    if record.notes:
        text = "1 note" if len(record.notes) == 1 else f"{len(record.notes)} notes"
        facts.append(_marked(text, odd))
    flagged = odd or outside > FLAGGED_OUTSIDE or _much_lost(record)
    title = escape("\n".join((record.image, *record.notes)), quote=True)
    return (
        f'<figure{" class=flag" if flagged else ""} title="{title}"><div class="views">'
        f"{pictures.axial}{pictures.sagittal}</div><figcaption><b>{escape(_who(record))}</b><br>"
        f"{' · '.join(facts)}</figcaption></figure>\n"
    )


def _notes(records: Iterable[ScanRecord]) -> str:
    """What was noticed: notes that differ only in numbers and paths together, then each scan."""
    groups: dict[str, list[str]] = defaultdict(list)
    for record in records:
        for note in record.notes:
            entry = f"<b>{escape(_who(record))} {record.modality}</b>: {escape(note)}"
            groups[_kind(note)].append(entry)
    if not groups:
        return "<h2>Notes</h2><p>Nothing was adjusted.</p>\n"
    lists = (_list(kind, items) for kind, items in sorted(groups.items()))
    return f"<h2>Notes</h2>{''.join(lists)}\n"


def _skipped(skipped: Sequence[tuple[str, str]]) -> str:
    groups: dict[str, list[str]] = defaultdict(list)
    for path, reason in skipped:
        groups[reason].append(escape(path))
    lists = (_list(reason, items) for reason, items in sorted(groups.items()))
    body = "".join(lists) or "<p>Nothing.</p>"
    return f"<h2>Files and folders left out</h2>{body}\n"


def _list(title: str, items: list[str]) -> str:
    opened = " open" if len(items) <= _OPEN_LISTS else ""
    entries = "".join(f"<li>{item}</li>" for item in items)
    head = f"{escape(title)} ({len(items)})"
    return f"<details{opened}><summary>{head}</summary><ul>{entries}</ul></details>"


def _kind(note: str) -> str:
    without_paths = re.sub(r"\S*/\S+", "…", note)
    return re.sub(r"[-+]?\d[\d.,e+-]*", "…", without_paths)


def _who(record: ScanRecord) -> str:
    return " ".join(part for part in (record.subject, record.session) if part)


def _shape_range(shapes: Iterable[tuple[int, ...]]) -> str:
    """Numbers of voxels along each axis, such as ``151–168 × 182–211 × 160``."""
    sides = ((min(side), max(side)) for side in zip(*shapes, strict=True))
    return _times(str(low) if low == high else f"{low}–{high}" for low, high in sides)


def _times(parts: Iterable[str]) -> str:
    return " × ".join(parts)
