"""Removing what no record needs: parts of attempts that were interrupted.

Only files with a name that we give are removed, and only where every record that could name them
has been read: what cannot be read might name anything. Links are never followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from datasets.layout import ATTEMPT, Kind
from datasets.manifest import read_manifest, stored_record
from datasets.storage import Storage, StorageError
from study.records.studies import StudyStore
from study.records.types import Checkpoint
from study.store.contents import (
    PARTS,
    RECORDS,
    Item,
    TrialRecord,
    below,
    is_own,
    read_trial_record,
    trial_of,
)


@dataclass
class Swept:
    """What was removed, or would be.

    Attributes:
        paths: Paths below the store.
        kept: Why something was kept that seems to be needed no more, a sentence each.
    """

    paths: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def __iadd__(self, other: Swept) -> Swept:
        self.paths += other.paths
        self.kept += other.kept
        return self


def sweep(store: Storage, study: StudyStore, *, dry_run: bool = False) -> Swept:
    """Remove the parts in a study that no record names, and what was not written to its end.

    Not to be called while another process works on the study: its parts have no record yet.

    Args:
        store: The store.
        study: The study.
        dry_run: Only tell.

    Raises:
        StorageError: If the store cannot be listed.
    """
    items = below(store, f"studies/{study.name}")
    unclear = [f"{item.path}/" for item in items if item.entry.fault]
    found: list[tuple[Item, TrialRecord]] = []
    for item in items:
        if item.kind in RECORDS:
            try:
                record = read_trial_record(store, item)
            except (FileNotFoundError, StorageError):
                unclear.append(item.folder)  # what cannot be read may name anything
                continue
            if is_own(record, item):
                found.append((item, record))
            else:
                unclear.append(item.folder)  # and so may the one that lay here before
    stale = [item.path for item, record in found if _is_over(study, record, item)]
    needed = {
        f"{item.folder}{part.path}"
        for item, record in found
        if item.path not in stale
        for part in record.parts.values()
    }
    orphans = [
        item.path
        for item in items
        if (item.kind in PARTS or item.kind is Kind.UNFINISHED)
        and not item.entry.is_folder
        and item.path not in needed
        and not any(item.path.startswith(folder) for folder in unclear)
    ]
    return _remove(store, [*stale, *orphans], dry_run=dry_run)


def sweep_shards(store: Storage, *, dry_run: bool = False) -> Swept:
    """Remove the slices of scans that neither a scan's record nor a cohort's manifest names.

    Raises:
        StorageError: If the store cannot be listed.
    """
    items = below(store, "shards")
    needed: set[str] = set()
    unclear = [f"{item.path}/" for item in items if item.entry.fault]
    for item in items:
        try:
            if item.kind is Kind.COHORT:
                manifest = read_manifest(store, item.path.split("/")[1])
                if manifest is None:  # of an older version, or as below
                    unclear.append("shards/")
                else:
                    needed |= {record.part for record in manifest.records}
            elif item.kind is Kind.SCAN:
                record = stored_record(store, item.path.split("/")[2])
                if record is None:  # a link that leads nowhere, or gone since it was listed
                    unclear.append(item.folder)
                else:
                    needed.add(record.part)
        except (FileNotFoundError, StorageError):
            unclear.append("shards/" if item.kind is Kind.COHORT else item.folder)
    orphans = [
        item.path
        for item in items
        if item.kind in (Kind.SLICES, Kind.UNFINISHED)
        and not item.entry.is_folder
        and item.path not in needed
        and not (
            item.kind is Kind.SLICES and any(item.path.startswith(folder) for folder in unclear)
        )
    ]
    return _remove(store, orphans, dry_run=dry_run)


def _is_over(study: StudyStore, record: TrialRecord, item: Item) -> bool:
    """Whether a checkpoint's fit has been finished: a kill came before the checkpoint was gone."""
    if not isinstance(record, Checkpoint):
        return False
    try:
        fit = study.trial(trial_of(item.path)[1]).fit()
    except StorageError:
        return False
    asked_for = record.epochs or record.epoch  # a longer fit may begin at an earlier epoch
    is_same = fit is not None and fit.trial_id == record.trial_id and fit.status == "done"
    return is_same and fit is not None and fit.spec.epochs >= asked_for


def _remove(store: Storage, paths: Iterable[str], *, dry_run: bool) -> Swept:
    swept = Swept()
    for path in paths:
        try:
            if not dry_run:
                store.delete(path)
        except StorageError as error:
            swept.kept.append(str(error))
        else:
            swept.paths.append(path)
    if not dry_run:
        for folder in sorted({path.rpartition("/")[0] for path in swept.paths}):
            if re.search(rf"/{ATTEMPT}$", folder):
                store.delete_folder_if_empty(folder)
    return swept
