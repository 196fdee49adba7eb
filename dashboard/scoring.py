"""Scoring a slice or a scan on the spot: saved weights and shards in, score maps out.

torch is loaded at the first slice that is asked for, not before.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.data import ScanSlices, weights
from dashboard.volumes import Coded, coded
from datasets.storage import StorageError
from study.records.showcase import ShowcaseMaps

if TYPE_CHECKING:
    from trainables.detector import Detector

BATCH = 64
"""Slices that are scored at once."""


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

    def scores_in_brain(
        self,
        names: Sequence[str],
        images_NHW: NDArray[np.float32],
        brain_NHW: NDArray[np.bool_],
    ) -> dict[str, NDArray[np.float32]]:
        """Scores of the brain's pixels, slice after slice, each from its last row to its first.

        Args:
            names: Which scores.
            images_NHW: Slices, which may be written to.
            brain_NHW: Their brain masks, likewise.

        Raises:
            StorageError: If the model has no such score.
        """
        found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
        asked = [score.name for score in self.detector.MORE_SCORES if score.name in found]
        for start in range(0, len(images_NHW), BATCH):
            some = slice(start, start + BATCH)
            brain = brain_NHW[some].copy()
            with self.lock:
                maps = self.detector.maps(asked, images_NHW[some], brain_NHW[some])
            for name, parts in found.items():
                if name not in maps:
                    raise StorageError(f"its model has no score {name!r}")
                map_BHW = maps[name]
                if not isinstance(map_BHW, np.ndarray):
                    map_BHW = map_BHW.cpu().numpy()
                parts.append(map_BHW[:, ::-1][brain[:, ::-1]])
        return {name: np.concatenate(parts) for name, parts in found.items()}


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


@st.cache_resource(show_spinner=False, max_entries=12)
def score_scan(
    uri: str,
    study: str,
    trial_id: str,
    finished: str,
    part: str,
    names: tuple[str, ...],
    _slices: ScanSlices,
) -> Mapping[str, Coded]:
    """Scores of one trial on the brain of a whole scan, computed once; shared, not to be changed.

    Args:
        uri: The store.
        study: Name of the study.
        trial_id: Whose weights.
        finished: When its fit was finished, so that longer training is not mistaken for this one.
        part: The scan's part in the store, which is named by its content.
        names: Which of the model's scores.
        _slices: The slices in that part; no part of the cache's key, which names it already.

    Returns:
        By score, the numbers of the brain's voxels in the order of a volume of
        :mod:`dashboard.volumes`. Two bytes a voxel: 1.3 MB a score for a brain of 650,000.

    Raises:
        StorageError: If the weights are missing, damaged, of another model or lack a score.
    """
    order = np.argsort(_slices.slice_index_N, kind="stable")
    images, brain = _slices.images_NHW[order], _slices.brain_NHW[order]
    found = _load(uri, study, trial_id, finished).scores_in_brain(names, images, brain)
    return {name: coded(values) for name, values in found.items()}
