"""Claims: healthy heads keep their brain mask when it may be widened, and dark lesions their rim.

Wants a folder of real scans (``--real``) with ``IXI`` (healthy whole heads in IXI's layout),
``reference_masks`` (their brains) and ``stroke_implanted`` (BIDS, stripped, with lesion masks).
Each lesion is scaled from the box of its own brain to that of a head's, pushed outward until it
touches the cortex, and filled as dark as the head's fluid, or at 0.55 of the brain's median.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.measurement import Measurement
from datasets.extractors import run_extractor
from datasets.nifti import Volume, load_mask, load_volume
from datasets.phantom import writer
from datasets.phantom.settings import PhantomOptions
from datasets.qc import largest_piece
from datasets.repair import fill_holes, widen_at_lesions
from datasets.scan import Scan
from datasets.sources import bids, ixi, phantom

LESIONS_PER_HEAD = 2
PHANTOM_HEADS = 3
BEYOND = 0.1
"""Share of a lesion that lies beyond the brain when it counts as touching the cortex."""

Mask = NDArray[np.bool_]
Masks = tuple[Mask, Mask]
"""The plain mask and the widened one."""


def measure_on(real: Path) -> list[Measurement]:
    """Dice of healthy heads, and lesion that is cut away, of plain and of widened masks."""
    rows = []
    heads = []
    for scan in ixi.list_scans(real / "IXI", ("T1w",)).scans:
        volume = load_volume(scan.image)
        name = scan.image.name.replace("-T1.nii.gz", "_brainmask.nii.gz")
        truth, _ = load_mask(real / "reference_masks" / name, volume, scan.image)
        heads.append((volume, truth))
        rows += _healthy(f"IXI {scan.subject}", [(volume, truth)])
    rows += _phantom()
    lesions = _lesions(real / "stroke_implanted")
    fills: dict[str, Callable[[NDArray[np.float32]], float]] = {
        "as dark as fluid": lambda inside: float(np.percentile(inside, 2)),
        "at 0.55 of the median": lambda inside: 0.55 * float(np.median(inside)),
    }
    for words, fill in fills.items():
        rows += _lost(words, fill, heads, lesions)
    return rows


def masks_of(volume: Volume) -> Masks:
    """The plain and the widened brain mask of a whole head."""
    piece, _ = largest_piece(run_extractor("deepbet", volume))
    plain = fill_holes(piece)
    return plain, widen_at_lesions(plain, volume.data_XYZ, volume.spacing_mm)


def dice(a: Mask, b: Mask) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def _healthy(name: str, heads: Sequence[tuple[Volume, Mask]]) -> list[Measurement]:
    """The worst Dice of some healthy heads, and the most that widening adds to one of them."""
    found, added_ml = [], []
    for volume, truth in heads:
        plain, widened = masks_of(volume)
        found.append((dice(widened, truth), dice(plain, truth)))
        voxel_ml = float(np.prod(volume.spacing_mm)) / 1000
        added_ml.append(float((widened & ~plain).sum()) * voxel_ml)
    ours, plain_dice = (min(values) for values in zip(*found, strict=True))
    claim = f"{name}: worst Dice, at most {max(added_ml):.1f} ml added"
    return [_row(claim, ours, "", plain_dice, ours / plain_dice)]


def _phantom() -> list[Measurement]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "phantom"
        writer.ensure(root, PhantomOptions(layout="ixi", subjects=PHANTOM_HEADS))
        for modality in ("T1w", "T2w"):
            heads = [_with_truth(root, s) for s in phantom.list_scans(root, (modality,)).scans]
            rows += _healthy(f"{len(heads)} phantoms {modality}", heads)
    return rows


def _with_truth(root: Path, scan: Scan) -> tuple[Volume, Mask]:
    volume = load_volume(scan.image)
    name = scan.image.name.replace(".nii.gz", "_brainmask.nii.gz")
    return volume, load_mask(root / "truth" / name, volume, scan.image)[0]


def _lesions(root: Path) -> list[tuple[Mask, Mask]]:
    """Lesion and brain of every scan in a BIDS folder of stripped brains."""
    found = []
    for scan in bids.list_scans(root, ("T1w",)).scans:
        volume = load_volume(scan.image)
        lesion, _ = load_mask(scan.lesion_masks[0], volume, scan.image)
        found.append((lesion, volume.data_XYZ > 0))
    return found


def _lost(
    words: str,
    fill: Callable[[NDArray[np.float32]], float],
    heads: Sequence[tuple[Volume, Mask]],
    lesions: Sequence[tuple[Mask, Mask]],
) -> list[Measurement]:
    lost = []
    for number, (volume, truth) in enumerate(heads):
        for other in range(LESIONS_PER_HEAD):
            lesion = implanted(*lesions[(2 * number + other) % len(lesions)], truth)
            image = _filled(volume, truth, lesion, fill(volume.data_XYZ[truth]))
            masks = masks_of(image)
            lost.append([float((lesion & ~mask).sum() / lesion.sum()) for mask in masks])
    plain, ours = np.array(lost).T
    return [
        _row(f"lesions {words}: {kind} share cut away", o, "", p, p / max(o, 1e-6))
        for kind, o, p in (
            ("mean", float(ours.mean()), float(plain.mean())),
            ("worst", float(ours.max()), float(plain.max())),
        )
    ]


def implanted(lesion: Mask, brain: Mask, target: Mask) -> Mask:
    """A lesion moved from a brain's box to another brain's, outward until it touches the cortex."""
    source_box, target_box = _box(brain), _box(target)
    scale = (source_box[1] - source_box[0]) / (target_box[1] - target_box[0])

    def at(shift: NDArray[np.float64]) -> Mask:
        offset = source_box[0] + 0.5 * scale - 0.5 - scale * (target_box[0] + shift)
        moved = ndimage.affine_transform(
            lesion.astype(np.float32), scale, offset=offset, output_shape=target.shape, order=1
        )
        return np.asarray(moved > 0.5)

    here = np.array(ndimage.center_of_mass(at(np.zeros(3))))
    outward = here - np.array(ndimage.center_of_mass(target))
    outward /= np.linalg.norm(outward)
    for voxels in range(30):
        moved = at(voxels * outward)
        if (moved & ~target).sum() > BEYOND * moved.sum():
            break
    return np.asarray(moved & target)


def _filled(volume: Volume, brain: Mask, lesion: Mask, value: float) -> Volume:
    median = float(np.median(volume.data_XYZ[brain]))
    noise = np.random.default_rng(0).standard_normal(lesion.shape, dtype=np.float32)
    dark = np.float32(value) + np.float32(0.03 * median) * noise
    data = np.where(lesion, dark, volume.data_XYZ)
    return Volume(data, volume.affine, volume.spacing_mm)


def _box(mask: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    places = np.argwhere(mask)
    return places.min(axis=0).astype(float), places.max(axis=0) + 1.0


def _row(claim: str, ours: float, unit: str, peers: float, ratio: float) -> Measurement:
    return Measurement(f"widened masks, {claim}", ours, unit, "plain masks", peers, ratio)
