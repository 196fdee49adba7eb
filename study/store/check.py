"""``study.store check``: every file of a store, every checksum, every identity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from datasets import retries
from datasets.checksums import check_cache
from datasets.layout import Kind, kind_of
from datasets.local_tree import Entry
from datasets.manifest import (
    ScanRecord,
    manifest_path,
    read_manifest,
    record_path,
    stored_record,
)
from datasets.retries import read_retries, retried_key, retries_of
from datasets.storage import Storage, StorageError
from study.errors import DamagedError
from study.records.identities import Problem, check_evaluation, check_fit, problem_of
from study.records.index import read_metrics, verify_index
from study.records.names import Names
from study.records.statistics import verify_statistics
from study.records.studies import StudyStore
from study.records.types import DescribedStudy, EvalRecord, Part
from study.store.contents import (
    PARTS,
    RECORDS,
    Item,
    TrialRecord,
    contents,
    evaluation_of,
    read_trial_record,
    trial_of,
)
from study.store.in_the_way import in_the_way


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        path: The file or folder, below the store.
        message: What is wrong, in one sentence that names the file.
        problem: Of which kind; None for what harms nothing: a file of somebody else, a link, what
            an interrupted attempt has left, slices that were taken away.
        records: The records and parts that have to go so that what they stood for is made again.
    """

    path: str
    message: str
    problem: Problem | None = None
    records: tuple[str, ...] = ()


def check_store(store: Storage) -> Iterator[Finding | str]:
    """Look at everything in a store.

    Yields:
        A finding for each thing that is not as it should be, and the path of each file that is
        right.

    Raises:
        StorageError: If the store cannot be listed.
    """
    yield from _Check(store, contents(store)).run()


@dataclass
class _Check:
    """One look at a store."""

    store: Storage
    items: list[Item]
    parts: dict[str, list[tuple[str, str, int | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Of each part: the records that name it, with checksum and size."""
    expected: dict[str, Finding] = field(default_factory=dict)
    """Of each record that another one needs: what is found if it is not there."""
    scans: dict[str, ScanRecord] = field(default_factory=dict)
    """The records of scans, by key."""
    known: dict[str, DescribedStudy] = field(default_factory=dict)

    def run(self) -> Iterator[Finding | str]:
        """First the records, which name the parts, then all else."""
        readers = self._readers()
        for item in self.items:
            read = readers.get(item.kind) if item.kind else None
            if read is not None:
                yield self._read(item, read)
        paths = set()
        for item in self.items:
            paths.add(item.path)
            if item.kind not in readers:
                finding = self._other(item)
                if finding is not None:
                    yield finding
        for path in sorted(set(self.parts) - paths):
            yield self._part(path)
        self._expect_retries()
        for path in sorted(set(self.expected) - paths):
            yield self.expected[path]

    def _readers(self) -> Mapping[Kind, Callable[[Item], object]]:
        return {
            Kind.STUDY: self._study,
            Kind.HEARTBEAT: lambda item: self._own_study(item).progress(),
            Kind.INDEX: lambda item: verify_index(self._own_study(item)),
            Kind.STATISTICS: lambda item: verify_statistics(self._own_study(item)),
            Kind.COPY: lambda item: self._own_study(item).copy(item.path.rpartition("/")[2]),
            Kind.FIT: self._fit,
            Kind.CHECKPOINT: self._checkpoint,
            Kind.EVALUATION: self._evaluation,
            Kind.SCAN: self._scan,
            Kind.COHORT: self._cohort,
            Kind.CHECKSUMS: lambda item: check_cache(self.store),
            Kind.RETRIES: lambda item: read_retries(self.store),
        }

    def _read(self, item: Item, read: Callable[[Item], object]) -> Finding | str:
        if item.entry.is_folder:
            return self._found(item, DamagedError(f"{item.path!r} is a folder, not a file"))
        if item.entry.is_link and not self.store.exists(item.path):
            return self._found(item, DamagedError(f"{item.path!r} is a link to no file"))
        try:
            read(item)
        except FileNotFoundError as error:  # a link that leads nowhere, or gone since it was listed
            return self._found(item, DamagedError(str(error)))
        except StorageError as error:
            return self._found(item, error)
        except ValueError as error:
            return Finding(item.path, f"{item.path!r} is not looked at: {error}")
        return item.path

    def _found(self, item: Item, error: Exception) -> Finding:
        problem = problem_of(error)
        can_go = problem in (Problem.DAMAGED, Problem.FOREIGN)
        is_odd = not item.entry.is_file and not item.entry.is_folder  # nothing to be read
        records: tuple[str, ...] = (item.path,) if can_go or is_odd else ()
        if problem is Problem.FOREIGN and item.kind in RECORDS:
            self._names(read_trial_record(self.store, item), item)  # it has its parts all the same
        if item.kind is Kind.SCAN:
            records = records and (*self._cohorts_of(item.path.split("/")[2]), *records)
        return Finding(item.path, str(error), problem, records)

    def _other(self, item: Item) -> Finding | str | None:
        """A part, or what is none of ours."""
        entry = item.entry
        if item.path in self.parts:
            return self._part(item.path)
        if entry.fault:
            message = f"{item.path!r} cannot be listed: {entry.fault}"
            return Finding(item.path, message, Problem.UNREADABLE)
        if entry.is_folder:
            return None
        if item.kind is Kind.UNFINISHED:
            return Finding(item.path, f"{item.path!r} was not written to its end; gc removes it")
        if item.kind in PARTS or item.kind is Kind.SLICES:
            return Finding(item.path, f"no record names {item.path!r}; gc removes it")
        reason = in_the_way(self.store, item, self.parts, self._has)
        if reason:
            return Finding(item.path, reason, Problem.DAMAGED, (item.path,))
        if entry.is_link:
            return Finding(
                item.path, f"{item.path!r} is a link; what is behind it is not looked at"
            )
        return Finding(item.path, f"{item.path!r} is no file of a store")

    def _has(self, path: str) -> bool:
        """Whether a part is whole, or a record is there and that of its place."""
        if path in self.parts:
            return isinstance(self._part(path), str)
        kind = kind_of(path)
        read = self._readers().get(kind) if kind is not None else None
        if read is None or not self.store.exists(path):
            return False
        try:
            read(Item(path, kind, Entry(path, is_file=True)))
        except (FileNotFoundError, StorageError, ValueError):
            return False
        return True

    def _part(self, path: str) -> Finding | str:
        """A part that records name."""
        named_by = self.parts[path]
        try:
            for _, sha256, size in named_by:
                data = self.store.read(path, sha256)
                if size is not None and len(data) != size:
                    raise DamagedError(
                        f"{path!r} has {len(data)} bytes, and its record says {size}"
                    )
        except FileNotFoundError as error:
            records = tuple(record for record, _, _ in named_by)
            return Finding(path, f"a part is missing: {error}", Problem.DAMAGED, records)
        except StorageError as error:
            problem = problem_of(error)
            records = (*(record for record, _, _ in named_by), path)
            return Finding(path, str(error), problem, records if problem is Problem.DAMAGED else ())
        return path

    def _own_study(self, item: Item) -> StudyStore:
        return StudyStore.open(self.store, item.path.split("/")[1])

    def _names(self, record: TrialRecord, item: Item) -> None:
        """Take in the parts of a record that counts."""
        for part in record.parts.values():
            self._name(f"{item.folder}{part.path}", item.path, part)

    def _name(self, path: str, record: str, part: Part) -> None:
        self.parts[path].append((record, part.sha256, part.size))

    def _described(self, study: StudyStore) -> DescribedStudy:
        if study.name not in self.known:
            self.known[study.name] = study.described()
        return self.known[study.name]

    def _expect(self, path: str, message: str, *records: str) -> None:
        """Take in a record that has to be there."""
        self.expected[path] = Finding(path, message, Problem.DAMAGED, records)

    def _study(self, item: Item) -> None:
        record = self._own_study(item).study()
        for cohort in record.cohorts if record is not None else ():
            path = manifest_path(cohort.key)  # results can be kept without the scans' slices
            message = f"{path!r} is missing, the cohort {cohort.name!r} of {item.path!r}"
            message += "; the next run of that study prepares it again"
            self.expected.setdefault(path, Finding(path, message))

    def _fit(self, item: Item) -> None:
        study = self._own_study(item)
        path = f"studies/{study.name}/study.json"
        self._expect(path, f"{path!r} is missing; the next run of that study writes it again")
        record = study.trial(trial_of(item.path)[1]).fit()
        if record is None:
            raise FileNotFoundError(f"no {item.path!r}")
        names = Names(self._described(study).detectors)
        check_fit(record, names, item.path)
        self._names(record, item)

    def _checkpoint(self, item: Item) -> None:
        record = self._own_study(item).trial(trial_of(item.path)[1]).checkpoint()
        if record is None:
            raise FileNotFoundError(f"no {item.path!r}")
        self._names(record, item)

    def _evaluation(self, item: Item) -> None:
        study = self._own_study(item)
        trial = study.trial(trial_of(item.path)[1])
        record = trial.evaluation(evaluation_of(item.path))
        if record is None:
            raise FileNotFoundError(f"no {item.path!r}")
        self._names(record, item)
        cohorts = {cohort.key: cohort.name for cohort in self._described(study).cohorts}
        check_evaluation(record, self._scores(record, item), cohorts, item.path)

    def _scores(self, record: EvalRecord, item: Item) -> set[str]:
        """The scores that an evaluation has; none if its table is damaged, which is found apart."""
        part = record.parts.get("metrics.parquet")
        if part is None:
            return set()
        try:
            data = self.store.read(f"{item.folder}{part.path}", part.sha256)
        except (FileNotFoundError, StorageError):
            return set()
        return {row["score"] for row in read_metrics(data, item.path)}

    def _scan(self, item: Item) -> None:
        record = stored_record(self.store, item.path.split("/")[2])
        if record is None:
            return
        self.scans[record.key] = record
        if record.part:
            self.parts[record.part].append((item.path, record.sha256, None))

    def _expect_retries(self) -> None:
        """The file that tells of retries has to be there if a cohort has what came through."""
        counts = retries_of(self.scans.values())
        keys = {record_path(retried_key(key, count)) for key, count in counts.items()}
        if keys & self.expected.keys():
            self._expect(retries.PATH, f"{retries.PATH!r} is missing", retries.PATH)

    def _cohort(self, item: Item) -> None:
        manifest = read_manifest(self.store, item.path.split("/")[1])
        for record in manifest.records if manifest else ():
            path = record_path(record.key)
            self._expect(path, f"{path!r} is missing, and {item.path!r} names it", item.path)
            if record.part:
                self.parts[record.part].append((item.path, record.sha256, None))

    def _cohorts_of(self, scan: str) -> tuple[str, ...]:
        """The manifests of the cohorts that have a scan."""
        found = []
        for item in self.items:
            if item.kind is Kind.COHORT:
                try:
                    manifest = read_manifest(self.store, item.path.split("/")[1])
                except (FileNotFoundError, StorageError):
                    continue
                if manifest is not None and any(r.key == scan for r in manifest.records):
                    found.append(item.path)
        return tuple(found)
