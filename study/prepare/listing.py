"""Which scans the cohorts have and which of them are prepared; looks, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasets.checksums import ChecksumCache, scan_checksums, scan_key
from datasets.errors import ScanError, SourceError
from datasets.manifest import (
    NOT_HEALTHY,
    CohortManifest,
    DamagedManifestError,
    ScanRecord,
    SubjectInfo,
    cohort_key,
    read_manifest,
    read_record,
)
from datasets.nifti_header import check_header
from datasets.phantom.settings import MARKER
from datasets.retries import read_retries, retried_key
from datasets.scan import FURTHER, NO_IMAGE, Listing, Modality, Role, Scan, Skipped, not_used
from datasets.settings import PreprocessSettings
from datasets.storage import Storage
from study.prepare.cohorts import Cohort
from study.prepare.duplicates import Content, repeated
from study.prepare.found import list_cohort
from study.prepare.selection import select
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
        has_others: Whether there are further images of the subject, session and modality.
    """

    scan: Scan
    cohort: str
    role: Role
    key: str
    content_key: str
    stored: tuple[str, Path] | None = None
    has_others: bool = False

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
        skipped: What was left out of the cohort, in any modality, and why.
        n_expected: Number of scans, also where they are not written yet.
        manifest: The manifest, if all is prepared.
        n_files: How many files are below the cohort's folders, if its source counts them.
        subjects: What is known of the cohort's subjects, in any modality.
        notes: What a person should know of the choice of its scans: a sentence, and the name of the
            scan, or nothing for the whole cohort.
    """

    cohort: Cohort
    modality: Modality
    key: str
    tasks: tuple[ScanTask, ...]
    skipped: tuple[Skipped, ...]
    n_expected: int
    manifest: CohortManifest | None = None
    n_files: int | None = None
    subjects: tuple[SubjectInfo, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()

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


@dataclass
class _Listed:
    """The scans of a cohort in all modalities, while it is found out which are used.

    Attributes:
        cohort: The cohort.
        listing: What its source has found and its subjects allow.
        subjects: What is known of them.
        tasks: The scans, in the listing's order.
        contents: What their files hold, in the same order.
        skipped: What is left out, by path.
        notes: What a person should know of a scan, or of the whole cohort.
        chosen: For each scan the first image, the one that is used, and those that failed with
            their reasons.
    """

    cohort: Cohort
    listing: Listing
    subjects: tuple[SubjectInfo, ...]
    tasks: list[ScanTask] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    skipped: dict[Path, Skipped] = field(default_factory=dict)
    notes: list[tuple[Scan | None, str]] = field(default_factory=list)
    chosen: list[tuple[Scan, Scan, list[tuple[Scan, str]]]] = field(default_factory=list)

    def account(self) -> None:
        """Leave the images out that others of their subject were chosen instead of."""
        used = frozenset(path for _, one, _ in self.chosen for path in one.files)
        for first, one, failed in self.chosen:
            if one is first:
                continue
            for candidate in (first, *first.alternatives):
                if candidate is not one:
                    self.leave_out(candidate, FURTHER, used)
            for candidate, reason in failed:
                told = "set aside, and another image of its subject is used"
                self.leave_out(candidate, told, used)
                note = f"used instead of {candidate.image}, which was set aside: {reason}"
                self.notes.append((one, note))
        for path in used:
            self.skipped.pop(path, None)

    def leave_out(self, scan: Scan, reason: str, used: frozenset[Path]) -> None:
        """Leave the files of a scan out, but for those that others use."""
        self.skipped |= {item.path: item for item in not_used(scan, reason, used)}


@dataclass(frozen=True)
class Surveyor:
    """Lists cohorts.

    Attributes:
        store: Where the shards lie.
        settings: Of preprocessing.
        cache: Checksums of source files that are known; told the others.
        retries: Of scans that were set aside and came through later.
        looked: Called before each scan with how many of how many of its cohort were looked at.
        say: Told in a sentence what is wrong with the store and does no harm.
        find: Tells what is in a cohort's folders.
    """

    store: Storage
    settings: PreprocessSettings
    cache: ChecksumCache
    retries: Mapping[str, int]
    looked: Callable[[int, int], None] = lambda done, total: None
    say: Callable[[str], None] = lambda sentence: None
    find: Callable[[Cohort], Listing] = list_cohort

    def survey(self, cohorts: Sequence[Cohort]) -> list[CohortListing]:
        """List all scans, see :func:`survey`."""
        listed = {
            cohort.name: self._list(cohort)
            for cohort in cohorts
            if cohort.options is None or is_written(cohort, self.store)
        }
        self._use_once([*listed.values()])
        found: list[CohortListing] = []
        for cohort in cohorts:
            if cohort.name in listed:
                found += self._by_modality(listed[cohort.name])
            else:
                n_expected = cohort.options.subjects if cohort.options else 0
                found += [
                    CohortListing(cohort, modality, "", (), (), n_expected)
                    for modality in cohort.modalities
                ]
        return found

    def _list(self, cohort: Cohort) -> _Listed:
        selection = select(cohort, self.find(cohort))
        listing = selection.listing
        listed = _Listed(cohort, listing, selection.subjects)
        listed.skipped = {item.path: item for item in listing.skipped}
        listed.notes = [(None, note) for note in selection.notes]
        for index, scan in enumerate(listing.scans):
            self.looked(index, len(listing.scans))
            task, checksums = self._choose(scan, listed)
            listed.tasks.append(task)
            masks = tuple(sorted(checksums[path] for path in task.scan.lesion_masks))
            image = (str(task.scan.image), checksums[task.scan.image])
            volume = task.scan.volume
            listed.contents.append(
                Content(cohort.name, cohort.role, scan.modality, *image, masks, volume)
            )
        listed.account()
        return listed

    def _choose(self, scan: Scan, listed: _Listed) -> tuple[ScanTask, Mapping[Path, str]]:
        """The first of a scan's images that was not set aside, or the first of all.

        One that was set aside because its lesion mask says that the subject is not healthy is not
        replaced: without that mask another image of the same head would train.
        """
        candidates = (scan, *scan.alternatives)
        failed: list[tuple[Scan, str]] = []
        first: tuple[ScanTask, Mapping[Path, str]] | None = None
        for candidate in candidates:
            content = scan_checksums(candidate, self.cache)
            task = self._task(listed.cohort, candidate, content)
            task = replace(task, has_others=len(candidates) > 1)
            first = first or (task, content)
            record = read_record(self.store, task.key) if len(candidates) > 1 else None
            if record is None or record.status == "ok":
                listed.chosen.append((scan, candidate, failed))
                return task, content
            if listed.cohort.role != "test" and record.reason.startswith(NOT_HEALTHY):
                break
            failed.append((candidate, record.reason))
        assert first is not None
        listed.chosen.append((scan, scan, []))
        return first

    def _use_once(self, listed: Sequence[_Listed]) -> None:
        """Leave out scans that are there more than once."""
        places = [(some, index) for some in listed for index in range(len(some.tasks))]
        repeats = repeated([some.contents[index] for some, index in places], _is_image)
        gone: dict[str, set[int]] = {}
        for place, repeat in repeats.items():
            some, index = places[place]
            some.notes.append((some.tasks[index].scan, repeat.sentence))
            if repeat.is_left_out:
                gone.setdefault(some.cohort.name, set()).add(index)
        for some in listed:
            indices = gone.get(some.cohort.name, set())
            kept = [task for i, task in enumerate(some.tasks) if i not in indices]
            used = frozenset(path for task in kept for path in task.scan.files)
            for index in sorted(indices):
                scan = some.tasks[index].scan
                some.leave_out(scan, "the same scan is there more than once", used)
            if some.tasks and not kept:
                raise SourceError(
                    f"cohort {some.cohort.name!r}: every scan in {some.cohort.root} is also in a "
                    "cohort before it with the same lesion masks; leave one of them out"
                )
            some.tasks = kept

    def _by_modality(self, listed: _Listed) -> list[CohortListing]:
        cohort, skipped = listed.cohort, tuple(sorted(listed.skipped.values()))
        found = []
        for modality in cohort.modalities:
            chosen = tuple(task for task in listed.tasks if task.scan.modality == modality)
            if chosen:
                key = cohort_key(cohort.name, modality, (task.key for task in chosen))
                notes = tuple(
                    (note, scan_name("", scan.subject, scan.session, "") if scan else "")
                    for scan, note in listed.notes
                    if scan is None or scan.modality == modality
                )
                found.append(
                    CohortListing(
                        cohort,
                        modality,
                        key,
                        chosen,
                        skipped,
                        len(chosen),
                        self._manifest(key),
                        listed.listing.n_files,
                        listed.subjects,
                        notes,
                    )
                )
            elif "modalities" in cohort.model_fields_set:  # asked for by name
                raise SourceError(_nothing(cohort, modality, skipped))
        if not found:
            raise SourceError(_nothing(cohort, " or ".join(cohort.modalities), skipped))
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


def _is_image(path: str) -> bool:
    try:
        check_header(Path(path))
    except (ScanError, OSError):
        return False
    return True


def _nothing(cohort: Cohort, modality: str, skipped: Sequence[Skipped]) -> str:
    """Says that a cohort has no scan of a modality, with the most likely reason."""
    sentence = f"cohort {cohort.name!r}: {cohort.root} has no {modality} scan that can be used"
    told = [item for item in skipped if not item.reason.startswith(NO_IMAGE)]
    if not told:
        return sentence
    first, *others = told
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
