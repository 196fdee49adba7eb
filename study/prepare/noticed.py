"""What was noticed about the scans: notes that differ only in numbers and paths told once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from datasets.lesions import record_notes
from datasets.manifest import as_text
from datasets.scan import NO_IMAGE
from study.prepare.accounts import by_reason
from study.prepare.contrasts import odd_contrasts
from study.prepare.listing import CohortListing, scan_name
from study.terminal import counted

KINDS_SHOWN = 20
_REASONS_SHOWN = 12


def kind_of(note: str) -> str:
    """A note without its numbers and paths."""
    without_paths = re.sub(r"\S*/\S+", "…", note)
    return re.sub(r"[-+]?\d[\d.,e+-]*", "…", without_paths)


def note_lines(listings: Iterable[CohortListing]) -> Iterator[str]:
    """A line for each kind of note of each cohort, with a count and the first scan."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for cohort, modality, name, note in notes_of(listings):
        place = f"{cohort} {modality}" if name else cohort
        found.setdefault((place, kind_of(note)), []).append((name, note))
    for (place, _), notes in list(found.items())[:KINDS_SHOWN]:
        name, note = notes[0]
        if not name:
            yield f"note: {place}: {note}"
            continue
        n_scans = len({name for name, _ in notes})
        scans = counted(n_scans, "scan")
        yield f"note: {scans} of {place}: {note} (first: {name})"
    if len(found) > KINDS_SHOWN:
        yield (
            f"… and {len(found) - KINDS_SHOWN} more kinds of notes; study.prepare --report DIR "
            "lists them all"
        )


def notes_of(listings: Iterable[CohortListing]) -> Iterator[tuple[str, str, str, str]]:
    """Cohort, modality, scan and text of each note; those of a whole cohort come once."""
    whole: set[tuple[str, str]] = set()
    for listing in listings:
        cohort, modality = listing.cohort.name, listing.modality
        for note, name in listing.notes:
            if name:
                yield cohort, modality, name, note
            elif (cohort, note) not in whole:
                whole.add((cohort, note))
                yield cohort, modality, "", note
        odd = {record.key: note for record, note in odd_contrasts(listing)}
        for record in listing.records:
            # A page's records have their odd contrast among their notes already.
            notes = dict.fromkeys((*record_notes(record), odd.get(record.key, "")))
            for note in filter(None, notes):
                name = scan_name("", record.subject, record.session, "")
                yield cohort, modality, name, note


def file_lines(listings: Sequence[CohortListing], *, reasons: bool) -> Iterator[str]:
    """What became of the files of each cohort.

    Args:
        listings: Of all cohorts.
        reasons: Whether a line follows for each reason for which some were left out; of many the
            first ones, those of images before others.
    """
    for name in dict.fromkeys(listing.cohort.name for listing in listings):
        listing = next(x for x in listings if x.cohort.name == name)
        files = listing.manifest.files if listing.manifest else None
        counts = by_reason(listing.skipped)
        if files is not None:
            yield (
                f"{name}: {files.below} files: {files.used} used, {files.set_aside} of scans that "
                f"were set aside, {files.left_out} left out"
            )
        elif counts:
            yield f"{name}: {sum(counts.values())} files left out"
        told = sorted(counts, key=lambda reason: reason.startswith(NO_IMAGE)) if reasons else []
        for reason in told[:_REASONS_SHOWN]:
            first = next(item.path for item in listing.skipped if item.reason == reason)
            if first.is_relative_to(listing.cohort.root):
                first = first.relative_to(listing.cohort.root)
            yield f"  {_counted(counts[reason])}: {reason} (first: {as_text(str(first))})"
        if len(told) > _REASONS_SHOWN:
            more = len(told) - _REASONS_SHOWN
            yield f"  … and {more} more reasons; study.prepare --report DIR lists them all"


def _counted(n_files: int) -> str:
    return {0: "a folder", 1: "1 file"}.get(n_files, f"{n_files} files")
