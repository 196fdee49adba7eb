"""From shards to slices in memory: what trials are given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import groupby

import numpy as np

from datasets.manifest import CohortManifest, ScanRecord
from datasets.shards import read_slices
from datasets.storage import Storage
from trainables.slices import Slices

_ORDER_SEED = 1
"""Of the order of subjects that train; another one holds out others."""


def test_slices(store: Storage, manifest: CohortManifest) -> Slices:
    """The slices of a test cohort, ordered by subject name.

    Raises:
        StorageError: If a shard is missing or damaged; the message names it.
    """
    return _slices(store, sorted(_usable([manifest]), key=_place))


def train_slices(store: Storage, manifests: Iterable[CohortManifest]) -> Slices:
    """The pooled slices of the train cohorts of a modality.

    Subjects are ordered as by :func:`shared_order`, so that the last ones, which
    :meth:`Slices.split` holds out, come from every cohort by its share.

    Raises:
        StorageError: If a shard is missing or damaged; the message names it.
    """
    records = _usable(manifests)
    place = shared_order(_subjects(records))
    return _slices(store, sorted(records, key=lambda r: (place[_subject(r)], *_place(r))))


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
    start = 0
    for record in records:
        part = read_slices(store, record)
        rows = slice(start, start + record.n_slices)
        images_NHW[rows] = part.images_NHW
        brain_bits_NK[rows] = part.brain_bits_NK
        lesion_bits_NK[rows] = part.lesion_bits_NK
        subject_N[rows] = number[_subject(record)]
        slice_index_N[rows] = part.slice_index_N
        start = rows.stop
    return Slices(images_NHW, brain_bits_NK, lesion_bits_NK, subject_N, slice_index_N, subjects)
