"""Scans whose contrast is not that of the others of their cohort.

A scan's record says its own contrast alone; which scan is the odd one is worked out when a cohort
is shown, and is stored nowhere.
"""

from __future__ import annotations

from dataclasses import replace

from datasets.contrast import odd_ones
from datasets.manifest import ScanRecord
from datasets.shards import contrast_of, read_slices
from datasets.storage import Storage
from study.prepare.listing import CohortListing


def odd_contrasts(listing: CohortListing) -> list[tuple[ScanRecord, str]]:
    """The scans that differ from their cohort by what their records say, and how."""
    usable = [record for record in listing.records if record.status == "ok"]
    notes = odd_ones([record.contrast for record in usable], listing.modality)
    return [(record, note) for record, note in zip(usable, notes, strict=True) if note]


def with_contrasts(listing: CohortListing, store: Storage) -> CohortListing:
    """A listing whose records tell in a note what differs from the cohort.

    The contrast of scans that were prepared before it was measured is measured on their slices,
    one scan in memory at a time.

    Raises:
        StorageError: If slices cannot be read.
    """
    if listing.manifest is None:
        return listing
    measured = tuple(_measured(record, store) for record in listing.records)
    manifest = listing.manifest.model_copy(update={"records": measured})
    listing = replace(listing, manifest=manifest)
    notes = {record.key: note for record, note in odd_contrasts(listing)}
    told = tuple(
        record.model_copy(update={"notes": (*record.notes, notes[record.key])})
        if record.key in notes
        else record
        for record in measured
    )
    return replace(listing, manifest=manifest.model_copy(update={"records": told}))


def _measured(record: ScanRecord, store: Storage) -> ScanRecord:
    if record.status != "ok" or record.contrast is not None:
        return record
    contrast = contrast_of(record, read_slices(store, record))
    return record.model_copy(update={"contrast": contrast})
