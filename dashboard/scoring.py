"""Scoring a slice on the spot: saved weights and shards in, score maps out.

torch is loaded at the first slice that is asked for, not before.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.data import ScanSlices, weights
from datasets.storage import StorageError
from study.records.showcase import ShowcaseMaps

if TYPE_CHECKING:
    from trainables.detector import Detector


@dataclass(frozen=True)
class _Loaded:
    """A detector with its weights; detectors are not thread-safe, so it has a lock."""

    detector: Detector
    lock: threading.Lock = field(default_factory=threading.Lock)

    def maps(
        self, images_BHW: NDArray[np.float32], brain_BHW: NDArray[np.bool_]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
        with self.lock:
            scores = self.detector.score(images_BHW, brain_BHW)
            pictures = self.detector.pictures(images_BHW, brain_BHW)
        return scores, pictures


@st.cache_resource(show_spinner=False, max_entries=12)
def _load(uri: str, study: str, trial_id: str, finished: str) -> _Loaded:
    import safetensors
    import safetensors.numpy

    record, data = weights(uri, study, trial_id)
    try:
        detector = record.spec.detector()
        detector.load_state(safetensors.numpy.load(data))
    except (safetensors.SafetensorError, ValueError) as error:
        raise StorageError(f"the weights of trial {trial_id} cannot be used: {error}") from error
    return _Loaded(detector)


@st.cache_data(show_spinner=False, max_entries=96)
def score_slice(
    uri: str,
    study: str,
    trial_id: str,
    finished: str,
    subject: str,
    slice_index: int,
    _slices: ScanSlices,
) -> ShowcaseMaps:
    """Every score map of one trial on one slice.

    Args:
        uri: The store.
        study: Name of the study.
        trial_id: Whose weights.
        finished: When its fit was finished, so that longer training is not mistaken for this one.
        subject: ``cohort/subject``.
        slice_index: Index of the slice in its volume.
        _slices: All slices of that scan; no part of the cache's key, which names it already.

    Raises:
        StorageError: If the weights are missing, damaged or of another model.
        ValueError: If the scan has no such slice.
    """
    rows = np.flatnonzero(_slices.slice_index_N == slice_index)
    if not len(rows):
        raise ValueError(f"{subject!r} has no slice {slice_index}")
    row = slice(int(rows[0]), int(rows[0]) + 1)
    images, brain = _slices.images_NHW[row].copy(), _slices.brain_NHW[row].copy()
    scores, pictures = _load(uri, study, trial_id, finished).maps(images, brain)
    return ShowcaseMaps(
        subject=subject,
        slice_index=slice_index,
        image_HW=images[0],
        brain_HW=brain[0],
        lesion_HW=_slices.lesion_NHW[row][0],
        scores={name: maps[0] for name, maps in scores.items()},
        pictures={name: maps[0] for name, maps in pictures.items()},
    )
