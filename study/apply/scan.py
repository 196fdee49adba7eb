"""One scan as a Ray task: its maps and tables, written beside each other."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.derived import GENERATED_BY
from datasets.errors import ScanError
from datasets.files import write_whole
from datasets.identity import digest
from datasets.manifest import ScanRecord
from datasets.nifti import load_volume
from datasets.nifti_header import check_header
from datasets.nifti_write import nifti_bytes
from datasets.shards import read_slices
from datasets.storage import Storage
from study.apply.folder import Names, read_json, sidecar, tool, unwritable, write_json
from study.apply.maps import HealthyPixels, Piece, ScanMaps, pieces, scan_maps
from study.apply.model import AppliedModel, read_model
from study.cluster.environment import load_sent
from study.cluster.memory import keep_freed, release
from study.prepare.listing import scan_name
from trainables.detector import Detector

MAPS_VERSION = 1
"""Raised whenever the same scan, model and threshold would give other files than before."""


@dataclass(frozen=True)
class Threshold:
    """A threshold as it was asked for.

    Attributes:
        name: Such as ``healthy:5%``, or the number itself.
        value: The score that a voxel has to reach.
        cohorts: The healthy cohorts that chose it; none of a number.
        n_subjects: How many subjects these have.
    """

    name: str
    value: float
    cohorts: tuple[str, ...] = ()
    n_subjects: int = 0


@dataclass(frozen=True)
class ScanOrder:
    """What a worker is told of a scan.

    Attributes:
        image: Its file.
        volume: Which volume of the file, from 0, if it holds several.
        source: The file as BIDS names it: ``bids:raw:sub-01/anat/sub-01_T1w.nii.gz``.
        record: What its preparation has recorded.
        store: Where its slices are.
        model: The file of the model.
        identity: Of the model.
        score: The score that the maps show.
        threshold: Of the mask.
        out: The folder of all maps.
        names: Of the files.
        shares: Whether the model knows healthy subjects, and so shares of their pixels.
        page: Whether there is to be a page to look at.
    """

    image: Path
    volume: int | None
    source: str
    record: ScanRecord
    store: str
    model: Path
    identity: str
    score: str
    threshold: Threshold
    out: Path
    names: Names
    shares: bool
    page: bool = False

    @property
    def made_of(self) -> str:
        """What its files have in their texts: a digest of all that can change them."""
        what = [MAPS_VERSION, self.record.key, self.record.sha256, self.identity, self.score]
        return digest([*what, self.threshold.name, self.threshold.value])

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that have to be there; the text beside the last of them is written last."""
        names = self.names
        asked = [*([names.page] if self.page else []), *([names.share] if self.shares else [])]
        always = (names.scored, names.lesion, names.pieces, names.score)
        return tuple(self.out / path for path in (*asked, *always))

    def is_done(self) -> bool:
        """Whether an earlier run has written all of this."""
        return all(path.is_file() for path in self.paths) and (
            read_json(sidecar(self.paths[-1])).get("MadeOf") == self.made_of
        )


def apply_to(order: ScanOrder) -> None:
    """Write the maps of a scan, in a worker process.

    Raises:
        ScanError: If its file is no longer what was prepared.
        StorageError: If slices cannot be read or maps cannot be written.
    """
    load_sent()
    keep_freed()
    try:
        _write(order)
    finally:
        release()


@functools.lru_cache(maxsize=1)
def _loaded(
    path: Path, identity: str, score: str
) -> tuple[AppliedModel, Detector, HealthyPixels | None]:
    """A model, ready to score; a worker uses it for many scans."""
    model = read_model(path)
    return model, model.detector(), model.healthy_pixels(score)


def _write(order: ScanOrder) -> None:
    model, detector, healthy = _loaded(order.model, order.identity, order.score)
    facts = check_header(order.image, order.volume)
    slices = read_slices(Storage.open(order.store), order.record)
    if facts.shape != slices.geometry.shape_XYZ:
        raise ScanError(f"{order.image} has changed since its slices were prepared")
    maps = scan_maps(detector, order.score, slices, order.threshold.value, healthy)
    voxel_ml = abs(float(np.linalg.det(facts.affine[:3, :3]))) / 1000
    found = pieces(maps, facts.affine, voxel_ml)
    names, told = order.names, _told(order, model, slices.geometry.pixel_mm)
    lesion_ml = float(maps.lesion_XYZ.sum()) * voxel_ml
    files: list[tuple[Path, bytes, Mapping[str, Any]]] = [
        (
            names.scored,
            nifti_bytes(maps.scored_XYZ, facts),
            {"Description": _SCORED, "Type": "ROI"},
        ),
        (names.lesion, nifti_bytes(maps.lesion_XYZ, facts), _lesion(order, found, lesion_ml)),
        (names.pieces, _table(found), {"Description": _PIECES, **_COLUMNS}),
        (names.score, nifti_bytes(maps.score_XYZ, facts), {"Description": _SCORE}),
    ]
    if maps.share_XYZ is not None:
        share = (names.share, nifti_bytes(maps.share_XYZ, facts), {"Description": _SHARE})
        files.insert(0, share)
    page = _page(order, model, maps, found, lesion_ml, slices.geometry.pixel_mm)
    path = order.out / names.folder
    try:
        path.mkdir(parents=True, exist_ok=True)
        if page:
            path = order.out / names.page
            write_whole(path, page.encode("utf-8", "backslashreplace"))
        for name, data, more in files:
            path = order.out / name
            write_whole(path, data)
            write_json(sidecar(path), {**more, **told})
    except OSError as error:
        raise unwritable(path, error) from error


def _page(
    order: ScanOrder,
    model: AppliedModel,
    maps: ScanMaps,
    found: list[Piece],
    lesion_ml: float,
    pixel_mm: float,
) -> str:
    """The page, if it is wanted."""
    if not order.page:
        return ""
    from study.apply.page import page_text  # what draws takes a while to load

    about, record = model.description, order.record
    facts = {
        "title": scan_name("", record.subject, record.session, record.modality),
        "model": f"{about.spec.model}, {order.score}; trial {about.trial_id} of {about.study}",
        "threshold": f"{order.threshold.name} = {order.threshold.value:.6g}",
        "volume_ml": lesion_ml,
        "pixel_mm": pixel_mm,
        "notes": record.notes,
    }
    return page_text(load_volume(order.image, order.volume), maps, found, facts)


_SHARE = (
    "Share of the brain pixels of healthy subjects, kept out of training, with a lower score; no "
    "probability of a lesion"
)
_SCORE = "Anomaly score, higher is more anomalous; 0 where there is none"
_SCORED = "Where there is a score: the brain, but for slices with little of it"
_PIECES = "Connected pieces of the mask, the largest first"
_COLUMNS = {
    "volume_ml": {"Description": "Volume", "Units": "mL"},
    "voxels": {"Description": "Number of voxels"},
    "peak_score": {"Description": "Highest score"},
    "peak_share": {"Description": "Share of healthy brain pixels with a lower score than that"},
    **{
        f"{what}_{axis}_mm": {"Description": f"{where}, {axis} to {towards}", "Units": "mm"}
        for what, where in (("peak", "Where that is"), ("centre", "Centre of mass"))
        for axis, towards in (("x", "the right"), ("y", "anterior"), ("z", "superior"))
    },
}


def _told(order: ScanOrder, model: AppliedModel, pixel_mm: float) -> dict[str, Any]:
    """What every text says."""
    about = model.description
    return {
        "Sources": [order.source],
        "SpatialReference": "orig",
        GENERATED_BY: [tool()],
        "Model": about.spec.model,
        "Score": order.score,
        "Modality": about.spec.modality,
        "Settings": about.spec.params,
        "Seed": about.spec.seed,
        "Study": about.study,
        "TrialID": about.trial_id,
        "Packages": about.packages,
        "BrainTool": order.record.brain_tool,
        "PixelMm": round(pixel_mm, 4),
        "Notes": list(order.record.notes),
        "MadeOf": order.made_of,
    }


def _lesion(order: ScanOrder, found: list[Piece], lesion_ml: float) -> dict[str, Any]:
    """What the text beside the mask says more."""
    threshold = order.threshold
    return {
        "Description": "Where the score reaches the threshold",
        "Type": "Lesion",
        "Manual": False,
        "Threshold": threshold.name,
        "ThresholdScore": threshold.value,
        "ThresholdReference": list(threshold.cohorts),
        "ThresholdSubjects": threshold.n_subjects,
        "Pieces": len(found),
        "VolumeMl": round(lesion_ml, 4),
    }


def _table(found: list[Piece]) -> bytes:
    """The pieces as a table of BIDS: columns parted by tabs, ``n/a`` for what is not known."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter="\t", lineterminator="\n")
    writer.writerow(["piece", *_COLUMNS])
    for number, piece in enumerate(found, start=1):
        share = "n/a" if piece.peak_share is None else f"{piece.peak_share:.5f}"
        numbers = [number, f"{piece.ml:.4f}", piece.voxels, f"{piece.peak:.6g}", share]
        writer.writerow([*numbers, *piece.peak_mm, *piece.centre_mm])
    return out.getvalue().encode()
