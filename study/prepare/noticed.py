"""What was noticed about the scans: notes that differ only in numbers and paths told once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from datasets.lesions import record_notes
from datasets.manifest import ScanRecord
from study.prepare.listing import CohortListing, scan_name

KINDS_SHOWN = 20


def kind_of(note: str) -> str:
    """A note without its numbers and paths."""
    without_paths = re.sub(r"\S*/\S+", "…", note)
    return re.sub(r"[-+]?\d[\d.,e+-]*", "…", without_paths)


def note_lines(listings: Iterable[CohortListing]) -> Iterator[str]:
    """A line for each kind of note of each cohort, with a count and the first scan."""
    found: dict[tuple[str, str, str], list[tuple[ScanRecord, str]]] = {}
    for listing in listings:
        for record in listing.records:
            for note in record_notes(record):
                kind = (record.cohort, record.modality, kind_of(note))
                found.setdefault(kind, []).append((record, note))
    for (cohort, modality, _), notes in list(found.items())[:KINDS_SHOWN]:
        record, note = notes[0]
        n_scans = len({r.key for r, _ in notes})
        scans = "1 scan" if n_scans == 1 else f"{n_scans} scans"
        first = scan_name("", record.subject, record.session, "")
        yield f"note: {scans} of {cohort} {modality}: {note} (first: {first})"
    if len(found) > KINDS_SHOWN:
        yield (
            f"… and {len(found) - KINDS_SHOWN} more kinds of notes; study.prepare --report DIR "
            "lists them all"
        )
