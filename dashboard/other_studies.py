"""Other studies of the stores that tested on the same cohorts, and how their figures differ."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass

import streamlit as st

from dashboard.data import best_of, list_studies, open_store, open_study
from dashboard.frame import Frame
from dashboard.options import parse_options
from datasets.storage import StorageError
from study.records.studies import StudyStore
from study.records.types import StudyRecord
from study.report.evidence import Evidence
from study.report.two_studies import Difference, differences, shared_cohorts

MOST_STUDIES = 30
"""So many studies of a store are looked at, those that moved last."""


@dataclass(frozen=True)
class Place:
    """Where a study lies.

    Attributes:
        store: What its store is called.
        uri: The store.
        study: Name of the study.
    """

    store: str
    uri: str
    study: str


def others_of(frame: Frame) -> dict[str, Place]:
    """Where each other study with a test cohort of this one lies, by what it is called.

    Those of the same store come first, of each store those that moved last; a study whose record
    cannot be read is left out.
    """
    stores = sorted(parse_options(sys.argv[1:]).stores.items(), key=lambda s: s[1] != frame.uri)
    known = []
    for store, uri in stores:
        for name in list_studies(uri).studies[:MOST_STUDIES]:
            record = None if (uri, name) == (frame.uri, frame.study) else _record(uri, name)
            if record is not None and shared_cohorts(frame.record, record):
                known.append(Place(store, uri, name))
    times = Counter([frame.study, *(place.study for place in known)])
    return {
        place.study if times[place.study] == 1 else f"{place.study} in {place.store}": place
        for place in known
    }


@st.cache_resource(show_spinner=False, max_entries=64, ttl=30.0)
def _record(uri: str, name: str) -> StudyRecord | None:
    """The record of a study, or None if it cannot be read."""
    try:
        return StudyStore.open(open_store(uri), name).study()
    except (StorageError, OSError, ValueError):
        return None


def open_other(place: Place) -> Frame | None:
    """Another study as the store shows it now; None if its record cannot be read."""
    view = open_study(place.uri, place.study).view()
    return None if view.record is None else Frame(place.store, place.uri, place.study, view)


def differences_between(here: Frame, other: Frame) -> tuple[list[Difference], tuple[str, ...]]:
    """The cells of table 1 that two studies share, over brain pixels, tested on their subjects.

    Returns:
        The differences, and a sentence for each study of which parts could not be read.
    """
    ours, theirs = (f"{f.uri}\n{f.study}\n{f.view.version}" for f in (here, other))
    return _differences(ours, theirs, here, other)


@st.cache_data(show_spinner=False, max_entries=16)
def _differences(
    ours: str, theirs: str, _here: Frame, _other: Frame
) -> tuple[list[Difference], tuple[str, ...]]:
    (here, evidence), (other, others) = (_evidence(frame) for frame in (_here, _other))
    found = differences(here, evidence, other, others)
    told = (evidence.parts.words(_here.uri), others.parts.words(_other.uri))
    return found, tuple(filter(None, told))


def _evidence(frame: Frame) -> tuple[list[dict[str, object]], Evidence]:
    best = best_of(frame.uri, frame.study, frame.view.version, "auc", frame.view)
    study = StudyStore.open(open_store(frame.uri), frame.study)
    return best, Evidence(study, frame.view.index, kept_only=True)
