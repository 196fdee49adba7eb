"""Which scans the cohorts have and which of them are prepared; looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.checksums import ChecksumCache, scan_checksums, scan_key
from datasets.errors import SourceError
from datasets.manifest import (
    CohortManifest,
    DamagedManifestError,
    ScanRecord,
    cohort_key,
    read_manifest,
)
from datasets.phantom.settings import MARKER
from datasets.retries import read_retries, retried_key
from datasets.scan import Listing, Modality, Role, Scan
from datasets.settings import PreprocessSettings
from datasets.storage import Storage
from study.prepare.cohorts import Cohort
from study.prepare.duplicates import Content, repeated
from study.records.types import CohortInfo


@dataclass(frozen=True)
class ScanTask:
    """One scan to prepare.

    Attributes:
        scan: The scan.
        cohort: Name of its cohort.
        role: Of the cohort.
        key: The scan's key.
        content_key: Its key if it was never tried again, see :mod:`datasets.retries`.
        stored: Where its files lie in the store, and the folder that stands for it here; None if
            they lie where the scan says.
    """

    scan: Scan
    cohort: str
    role: Role
    key: str
    content_key: str
    stored: tuple[str, Path] | None = None

    @property
    def name(self) -> str:
        """Cohort, subject, session and modality, for people."""
        return scan_name(self.cohort, self.scan.subject, self.scan.session, self.scan.modality)

    def set_aside(self, reason: str) -> ScanRecord:
        """The record that sets this scan aside."""
        return ScanRecord(
            key=self.key,
            status="quarantined",
            reason=reason,
            cohort=self.cohort,
            role=self.role,
            subject=self.scan.subject,
            session=self.scan.session,
            modality=self.scan.modality,
            image=str(self.scan.image),
        )


@dataclass(frozen=True)
class CohortListing:
    """The scans of a cohort in one modality, with the keys they have or will have.

    Attributes:
        cohort: The cohort.
        modality: The modality.
        key: Key of the cohort's shards; empty for a phantom that is not written yet.
        tasks: Its scans.
        skipped: What the source left out, and why.
        n_expected: Number of scans, also where they are not written yet.
        manifest: The manifest, if all is prepared.
    """

    cohort: Cohort
    modality: Modality
    key: str
    tasks: tuple[ScanTask, ...]
    skipped: tuple[tuple[str, str], ...]
    n_expected: int
    manifest: CohortManifest | None = None

    @property
    def records(self) -> tuple[ScanRecord, ...]:
        """The records of its scans; none before all are prepared."""
        return self.manifest.records if self.manifest else ()

    def info(self) -> CohortInfo:
        """What a study records of it."""
        usable = [r for r in self.records if r.status == "ok"]
        return CohortInfo(
            name=self.cohort.name,
            role=self.cohort.role,
            modality=self.modality,
            source=self.cohort.source,
            key=self.key,
            synthetic=self.cohort.synthetic,
            n_scans=len(usable) if self.manifest else self.n_expected,
            n_subjects=len({r.subject for r in usable}),
            n_slices=sum(r.n_slices for r in usable),
            n_quarantined=len(self.records) - len(usable),
        )


def scan_name(cohort: str, subject: str, session: str, modality: str) -> str:
    """A scan's name for people, such as ``atlas c0001s0004 t01 T1w``."""
    return " ".join(part for part in (cohort, subject, session, modality) if part)


def survey(
    cohorts: Sequence[Cohort], store: Storage, settings: PreprocessSettings
) -> list[CohortListing]:
    """List all scans and find out which are prepared; writes nothing.

    Raises:
        SourceError: If a cohort's folder cannot be read as what it was declared to be.
        ExtractorError: If brain extraction needs a tool that is not there.
        StorageError: If the store cannot be read.
    """
    return Surveyor(store, settings, ChecksumCache.load(store), read_retries(store)).survey(cohorts)


@dataclass(frozen=True)
class _Listed:
    """The scans of a cohort in all modalities, and what their files hold, in the same order."""

    listing: Listing
    tasks: tuple[ScanTask, ...]
    contents: tuple[Content, ...]


@dataclass(frozen=True)
class Surveyor:
    """Lists cohorts.

    Attributes:
        store: Where the shards lie.
        settings: Of preprocessing.
        cache: Checksums of source files that are known; told the others.
        retries: Of scans that were set aside and came through later.
        looked: Called before each scan with how many of how many of its cohort were looked at.
        say: Told in a sentence what is wrong with the store or the scans and does no harm.
    """

    store: Storage
    settings: PreprocessSettings
    cache: ChecksumCache
    retries: Mapping[str, int]
    looked: Callable[[int, int], None] = lambda done, total: None
    say: Callable[[str], None] = lambda sentence: None

    def survey(self, cohorts: Sequence[Cohort]) -> list[CohortListing]:
        """List all scans, see :func:`survey`."""
        listed = [
            self._list(cohort) if cohort.options is None or is_written(cohort, self.store) else None
            for cohort in cohorts
        ]
        contents = [c for some in listed if some for c in some.contents]
        left_out = repeated(contents, self.say)
        found: list[CohortListing] = []
        start = 0
        for cohort, some in zip(cohorts, listed, strict=True):
            if some is None:
                n_expected = cohort.options.subjects if cohort.options else 0
                found += [
                    CohortListing(cohort, modality, "", (), (), n_expected)
                    for modality in cohort.modalities
                ]
                continue
            numbered = enumerate(some.tasks, start)
            tasks = tuple(task for index, task in numbered if index not in left_out)
            start += len(some.tasks)
            if some.tasks and not tasks:
                raise SourceError(
                    f"cohort {cohort.name!r}: every scan in {cohort.root} is also in a cohort "
                    "before it with the same lesion masks; leave one of them out"
                )
            found += self._by_modality(cohort, some.listing, tasks)
        return found

    def _list(self, cohort: Cohort) -> _Listed:
        try:
            listing = cohort.module.list_scans(cohort.root, cohort.modalities)
        except SourceError as error:
            raise SourceError(f"cohort {cohort.name!r}: {error}") from error
        tasks, contents = [], []
        for index, scan in enumerate(listing.scans):
            self.looked(index, len(listing.scans))
            checksums = scan_checksums(scan, self.cache)
            tasks.append(self._task(cohort, scan, checksums))
            masks = tuple(sorted(checksums[path] for path in scan.lesion_masks))
            image = (str(scan.image), checksums[scan.image])
            contents.append(Content(cohort.name, cohort.role, scan.modality, *image, masks))
        return _Listed(listing, tuple(tasks), tuple(contents))

    def _by_modality(
        self, cohort: Cohort, listing: Listing, tasks: Sequence[ScanTask]
    ) -> list[CohortListing]:
        skipped = tuple((str(s.path), s.reason) for s in listing.skipped)
        found = []
        for modality in cohort.modalities:
            chosen = tuple(task for task in tasks if task.scan.modality == modality)
            if chosen:
                key = cohort_key(cohort.name, modality, (task.key for task in chosen))
                manifest = self._manifest(key)
                found.append(
                    CohortListing(cohort, modality, key, chosen, skipped, len(chosen), manifest)
                )
            elif "modalities" in cohort.model_fields_set:  # asked for by name
                raise SourceError(_nothing(cohort, modality, listing))
        if not found:
            raise SourceError(_nothing(cohort, " or ".join(cohort.modalities), listing))
        return found

    def _task(self, cohort: Cohort, scan: Scan, checksums: Mapping[Path, str]) -> ScanTask:
        key = scan_key(scan, cohort.name, cohort.role, self.settings, checksums)
        retried = retried_key(key, self.retries.get(key, 0))
        below = cohort.stored_below(self.store)
        stored = (below, cohort.root) if below else None
        return ScanTask(scan, cohort.name, cohort.role, retried, key, stored)

    def _manifest(self, key: str) -> CohortManifest | None:
        """The manifest of a cohort; one that is damaged is made again from the scans' records."""
        try:
            return read_manifest(self.store, key)
        except DamagedManifestError as error:
            self.say(f"made again: {error}")
            return None


def _nothing(cohort: Cohort, modality: str, listing: Listing) -> str:
    """Says that a cohort has no scan of a modality, with the most likely reason."""
    sentence = f"cohort {cohort.name!r}: {cohort.root} has no {modality} scan that can be used"
    if not listing.skipped:
        return sentence
    first, *others = listing.skipped
    more = f", and {len(others)} more" if others else ""
    return f"{sentence}; left out: {first.path}: {first.reason}{more}"


def is_written(cohort: Cohort, store: Storage) -> bool:
    """Whether a cohort's scans are there; a phantom's may have to be written first.

    Raises:
        StorageError: If the store cannot be reached.
    """
    if not cohort.synthetic:
        return True
    below = cohort.stored_below(store)
    return (cohort.root / MARKER).is_file() and (not below or store.exists(f"{below}/{MARKER}"))
