"""From shards to slices: which sets of them trials are given, and in which order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from datasets.identity import digest
from datasets.manifest import CohortManifest, ScanRecord, read_manifest
from datasets.scan import Role
from datasets.shards import read_slices
from datasets.slice_cache import Copied, SliceCache
from datasets.slice_files import SetMember
from datasets.storage import DamagedFileError, Storage, StorageError
from study.prepare.listing import CohortListing
from study.prepare.losses import lesion_outside_brain_share
from trainables.slices import Slices

_ORDER_SEED = 1
"""Of the order of subjects that train; another one holds out others."""


@dataclass(frozen=True)
class SliceSet:
    """The slices of a test or healthy cohort, or of all train cohorts of a modality.

    Attributes:
        key: Made of the checksums of its scans' shards, in the set's order.
        role: Whether it trains or is measured on, which decides on the order.
        cohorts: Keys of the cohorts' shards.
    """

    key: str
    role: Role
    cohorts: tuple[str, ...]


@dataclass(frozen=True)
class StudySlices:
    """The sets of a study, as small as it takes to find them: no slice is in memory for it.

    Attributes:
        train: By modality.
        test: By (cohort, modality), those of the role ``healthy`` included.
        outside: Share of lesion voxels outside the brain masks, by (cohort, modality).
    """

    train: dict[str, SliceSet] = field(default_factory=dict)
    test: dict[tuple[str, str], SliceSet] = field(default_factory=dict)
    outside: dict[tuple[str, str], float | None] = field(default_factory=dict)

    @property
    def sets(self) -> list[SliceSet]:
        """All of them."""
        return [*self.train.values(), *self.test.values()]


def study_slices(listings: Sequence[CohortListing], modalities: Iterable[str]) -> StudySlices:
    """The sets of a study's prepared cohorts.

    Args:
        listings: The cohorts.
        modalities: Those that trials are left of.
    """
    found = StudySlices()
    for modality in sorted(set(modalities)):
        here = [x for x in listings if x.modality == modality and x.manifest and x.info().n_slices]
        train = [x.manifest for x in here if x.cohort.role == "train" and x.manifest]
        test = [x for x in here if x.cohort.role != "train"]
        if not train or not any(x.cohort.role == "test" for x in test):
            continue
        found.train[modality] = slice_set("train", train)
        for listing in test:
            place = (listing.cohort.name, modality)
            if listing.manifest is not None:
                found.test[place] = slice_set(listing.cohort.role, [listing.manifest])
                found.outside[place] = lesion_outside_brain_share(listing.manifest)
    return found


def mapped_slices(
    cache: SliceCache, store: Storage, wanted: SliceSet
) -> tuple[Slices, Copied | None]:
    """The slices of a set, mapped from this node's copy, which is made if there is none.

    Returns:
        The slices, and what the copy took if it was made now.

    Raises:
        DamagedFileError: If a shard is damaged or gone; the message names it.
        StorageError: If the store or the node's folder cannot be used.
    """

    def members() -> list[SetMember]:
        manifests = [_manifest(store, key) for key in wanted.cohorts]
        found = _members(wanted.role, manifests)
        if _key_of(wanted.role, found) != wanted.key:
            raise StorageError(
                f"the shards of {', '.join(wanted.cohorts)} in the store {store.uri!r} have been "
                "made anew since this study began to run; run the same command again"
            )
        return found

    try:
        mapped = cache.open(wanted.key, members, store, wanted.cohorts)
    except FileNotFoundError as error:
        raise DamagedFileError(str(error)) from error
    slices = Slices(
        mapped.images_NHW,
        mapped.brain_bits_NK,
        mapped.lesion_bits_NK,
        mapped.subject_N,
        mapped.slice_index_N,
        mapped.subjects,
        mapped,
        scan_N=mapped.scan_N,
        voxel_ml_N=mapped.voxel_ml_N,
    )
    return slices, mapped.copied


def _manifest(store: Storage, key: str) -> CohortManifest:
    manifest = read_manifest(store, key)
    if manifest is None:
        raise FileNotFoundError(f"no manifest of the shards {key} in the store {store.uri!r}")
    return manifest


def slice_set(role: Role, manifests: Sequence[CohortManifest]) -> SliceSet:
    """The set of a test or healthy cohort, or of the train cohorts of a modality."""
    key = _key_of(role, _members(role, manifests))
    return SliceSet(key, role, tuple(manifest.key for manifest in manifests))


def _key_of(role: Role, members: Sequence[SetMember]) -> str:
    return digest([role, [[m.subject, m.record.sha256] for m in members]])


def _members(role: Role, manifests: Sequence[CohortManifest]) -> list[SetMember]:
    records = _train_order(manifests) if role == "train" else _test_order(manifests)
    return [SetMember(_subject(record), record) for record in records]


def test_slices(store: Storage, manifest: CohortManifest) -> Slices:
    """The slices of a test or healthy cohort in memory, ordered by subject name.

    Raises:
        StorageError: If a shard is missing or damaged; the message names it.
    """
    return _slices(store, _test_order([manifest]))


def train_slices(store: Storage, manifests: Iterable[CohortManifest]) -> Slices:
    """The pooled slices of the train cohorts of a modality in memory.

    Subjects are ordered as by :func:`shared_order`, so that the last ones, which
    :meth:`Slices.split` holds out, come from every cohort by its share.

    Raises:
        StorageError: If a shard is missing or damaged; the message names it.
    """
    return _slices(store, _train_order(manifests))


def _test_order(manifests: Iterable[CohortManifest]) -> list[ScanRecord]:
    return sorted(_usable(manifests), key=_place)


def _train_order(manifests: Iterable[CohortManifest]) -> list[ScanRecord]:
    records = _usable(manifests)
    place = shared_order(_subjects(records))
    return sorted(records, key=lambda r: (place[_subject(r)], *_place(r)))


def shared_order(subjects: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """An order of subjects in which every stretch has of each cohort about its share.

    Within a cohort it is drawn at random, by a hash with a seed that is the same for all trials of
    all studies. A subject's place among all is where it stands in its own cohort, as a share.

    Args:
        subjects: Subjects (``cohort/subject``) of each cohort.

    Returns:
        The place of each subject, from 0.
    """
    keyed = []
    for names in subjects.values():
        drawn = sorted(set(names), key=_hash)
        keyed += [((k + 0.5) / len(drawn), _hash(n), n) for k, n in enumerate(drawn)]
    return {name: place for place, (_, _, name) in enumerate(sorted(keyed))}


def _usable(manifests: Iterable[CohortManifest]) -> list[ScanRecord]:
    return [r for manifest in manifests for r in manifest.records if r.status == "ok"]


def _subjects(records: Iterable[ScanRecord]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for record in records:
        found.setdefault(record.cohort, []).append(_subject(record))
    return found


def _subject(record: ScanRecord) -> str:
    return f"{record.cohort}/{record.subject}"


def _place(record: ScanRecord) -> tuple[str, str, str]:
    return (_subject(record), record.session, record.key)


def _hash(text: str) -> str:
    return hashlib.sha256(f"{_ORDER_SEED}/{text}".encode()).hexdigest()


def _slices(store: Storage, records: list[ScanRecord]) -> Slices:
    """Read the parts of some scans, whose order is kept, into arrays allocated once."""
    subjects = tuple(name for name, _ in groupby(records, key=_subject))
    number = {name: index for index, name in enumerate(subjects)}
    count = sum(record.n_slices for record in records)
    images_NHW = np.empty((count, 128, 128), np.float16)
    brain_bits_NK = np.empty((count, 2048), np.uint8)
    lesion_bits_NK = np.empty((count, 2048), np.uint8)
    subject_N = np.empty(count, np.int32)
    slice_index_N = np.empty(count, np.int32)
    scan_N = np.empty(count, np.int32)
    voxel_ml_N = np.empty(count, np.float64)
    start = 0
    for place, record in enumerate(records):
        part = read_slices(store, record)
        rows = slice(start, start + record.n_slices)
        images_NHW[rows] = part.images_NHW
        brain_bits_NK[rows] = part.brain_bits_NK
        lesion_bits_NK[rows] = part.lesion_bits_NK
        subject_N[rows] = number[_subject(record)]
        slice_index_N[rows] = part.slice_index_N
        scan_N[rows] = place
        voxel_ml_N[rows] = part.geometry.voxel_ml
        start = rows.stop
    return Slices(
        images_NHW,
        brain_bits_NK,
        lesion_bits_NK,
        subject_N,
        slice_index_N,
        subjects,
        scan_N=scan_N,
        voxel_ml_N=voxel_ml_N,
    )
