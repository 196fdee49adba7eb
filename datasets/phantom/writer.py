"""Writing phantoms: synthetic cohorts as real NIfTI files in the layouts of IXI, ATLAS and BraTS.

They go the way of real data, brain extraction included. Anatomy comes from the ICBM 152 template
that nilearn ships; every subject is a pure function of the options and its number. Figures made
on it check the software; they are no evidence about medicine.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from datasets.errors import SourceError
from datasets.layout import is_unfinished, unfinished_name
from datasets.local_tree import delete_file, walk
from datasets.phantom import layouts as _layouts
from datasets.phantom.anatomy import Anatomy, draw_subject, look_at
from datasets.phantom.contrast import acquire, add_head, brain_signal, draw_signals, to_int16
from datasets.phantom.fields import SamplingGrid
from datasets.phantom.layouts import LAYOUTS, Layout, LayoutName
from datasets.phantom.lesions import Lesion, apply_lesions, draw_strokes, draw_tumour
from datasets.phantom.settings import (
    MARKER,
    STARTED,
    PhantomOptions,
    differences,
    marker_bytes,
    read_marker,
)
from datasets.scan import MODALITIES, Modality

_SHAPE, _LESIONS, _SIGNALS, _NOISE = range(4)

_LESION_FREE: LayoutName = "ixi"


class Run(Protocol):
    """How a caller has subjects written, such as in parallel: calls a task for each number."""

    def __call__(self, task: Callable[[int], None], indices: Sequence[int]) -> None:
        """Call ``task`` once for each index, in any order, in any process; return when done."""


def ensure(root: Path, options: PhantomOptions, run: Run | None = None) -> None:
    """Write what is missing of a phantom; a second call, or one after a kill, only goes on.

    Args:
        root: Its folder; made if missing.
        options: What it shall be.
        run: Runs the writing of subjects; one after the other in this process by default.

    Raises:
        SourceError: If the folder holds anything else, or cannot be written.
    """
    for name in (MARKER, STARTED):
        found = read_marker(root / name)
        if found is not None and found != options:
            raise SourceError(
                f"{root} holds a phantom of other options ({differences(found, options)}): "
                "choose another folder, or delete this one"
            )
    if (root / MARKER).is_file():
        return
    if not (root / STARTED).is_file() and root.is_dir() and any(root.iterdir()):
        raise SourceError(f"{root} is not empty and holds no phantom: choose a folder of its own")
    try:
        _write(root / STARTED, marker_bytes(options))
        (run or _one_by_one)(partial(write_subject, root, options), missing(root, options))
        for entry in list(walk(str(root), recursive=True)):
            if is_unfinished(entry.path.rpartition("/")[2]) and not entry.is_folder:
                delete_file(str(root), entry.path)
        _write(root / MARKER, marker_bytes(options))
        (root / STARTED).unlink(missing_ok=True)
    except ConnectionError:
        raise  # of the cluster that was to write
    except OSError as error:
        raise SourceError(f"cannot write the phantom below {root}: {error}") from error


def missing(root: Path, options: PhantomOptions) -> tuple[int, ...]:
    """Numbers, from 0, of the subjects that are not completely written."""
    return tuple(i for i in range(options.subjects) if not (root / last_file(options, i)).is_file())


def write_subject(root: Path, options: PhantomOptions, index: int) -> None:
    """Write all files of a subject.

    A pure function of the options and the number: any process writes the same bytes.
    """
    layout = LAYOUTS[options.layout]
    subject = draw_subject(_generator(options, index, _SHAPE), layout.pose)
    tilt = np.deg2rad(_generator(options, index, _SHAPE, 1).normal(0, 1) * layout.tilt_deg)
    modalities = options.modalities[::-1]
    for modality in modalities:
        view = layout.views[modality]
        anatomy = look_at(subject, view.grid(options.in_plane_mm, options.slice_mm))
        lesions = draw_lesions(options, index, anatomy)
        voxels = scan_voxels(options, index, modality, anatomy, lesions)
        path = _layouts.image_path(options.layout, index, modality)
        pack = partial(_nifti, grid=anatomy.grid, axes=view.axes, tilt=tilt)
        if modality == modalities[0]:
            for name, labels in _lesion_files(options.layout, index, lesions):
                _write(root / name, pack(labels))
        _write(root / _layouts.truth_path(path), pack(anatomy.brain.astype(np.uint8)))
        _write(root / path, pack(voxels))


def draw_lesions(options: PhantomOptions, index: int, anatomy: Anatomy) -> tuple[Lesion, ...]:
    """The lesions of a subject, whatever their contrast."""
    rng = _generator(options, index, _LESIONS)
    if options.layout == _LESION_FREE:
        return ()
    if options.layout == "atlas":
        return draw_strokes(rng, anatomy)
    return draw_tumour(rng, anatomy, _layouts.is_high_grade(index))


def scan_voxels(
    options: PhantomOptions,
    index: int,
    modality: Modality,
    anatomy: Anatomy,
    lesions: Sequence[Lesion],
) -> NDArray[np.int16]:
    """The stored values (X, Y, Z) of a scan, axes right, anterior, superior."""
    layout = LAYOUTS[options.layout]
    scanner = layout.scanner.louder(options.noise)
    stream = MODALITIES.index(modality)
    signals = draw_signals(_generator(options, index, _SIGNALS, stream), modality, scanner)
    brain = apply_lesions(
        brain_signal(anatomy, signals), lesions, signals, modality, options.lesion_contrast
    )
    signal = add_head(brain, anatomy, signals)
    rng = _generator(options, index, _NOISE, stream)
    image = acquire(rng, signal, anatomy.grid.axes(), scanner)
    return to_int16(image * _visible(layout, anatomy))


def _visible(layout: Layout, anatomy: Anatomy) -> NDArray[np.bool_]:
    """What the distributor left of a scan: the brain alone, or all but the face."""
    if layout.stripped:
        return anatomy.depth < 0.8
    if not layout.defaced:
        return np.ones(anatomy.depth.shape, dtype=bool)
    _, y, z = anatomy.grid.axes()
    face = (y[:, None] > 25.0) & (z[None, :] < -12.0)
    return np.asarray((anatomy.depth < 14.0) | ~face[None])


def _lesion_files(
    layout: LayoutName, index: int, lesions: Sequence[Lesion]
) -> list[tuple[str, NDArray[np.uint8]]]:
    return [(_layouts.lesion_path(layout, index, n), one.labels) for n, one in enumerate(lesions)]


def _generator(options: PhantomOptions, index: int, *stream: int) -> np.random.Generator:
    """The random numbers of one purpose; a change in one leaves the others as they are."""
    return np.random.default_rng([options.seed, LAYOUTS[options.layout].number, index, *stream])


def _nifti(voxels: NDArray[np.generic], grid: SamplingGrid, axes: str, tilt: float) -> bytes:
    """A .nii.gz file, its axes stored in the given directions, its bytes the same on every run."""
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    image = nib.Nifti1Image(voxels, grid.affine())
    wanted = nib.orientations.axcodes2ornt(axes)
    image = image.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(image.affine), wanted)
    )
    image = nib.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine)
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"phantom: synthetic, no patient"
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def last_file(options: PhantomOptions, index: int) -> str:
    """The path, below the phantom's folder, of the file of a subject that is written last."""
    return _layouts.image_path(options.layout, index, options.modalities[0])


def _one_by_one(task: Callable[[int], None], indices: Sequence[int]) -> None:
    for index in indices:
        task(index)


def _write(path: Path, data: bytes) -> None:
    """Write aside, then rename: a killed process leaves no half file under its final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(unfinished_name(path.name))
    aside.write_bytes(data)
    os.replace(aside, path)
