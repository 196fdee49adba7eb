"""The phantom: the same bytes on every run, files as real ones, a fair world."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.errors import SourceError
from datasets.layout import unfinished_name
from datasets.phantom import writer
from datasets.phantom.anatomy import Anatomy, draw_subject, look_at, template_points
from datasets.phantom.contrast import draw_signals
from datasets.phantom.fields import SamplingGrid, SmoothField
from datasets.phantom.layouts import LAYOUTS, LayoutName
from datasets.phantom.lesions import Lesion
from datasets.phantom.settings import MARKER, PHANTOM_VERSION, STARTED, PhantomOptions, marker_bytes
from datasets.scan import MODALITIES, Modality
from datasets.sources import phantom

COARSE = {"in_plane_mm": 3.0, "slice_mm": 5.0}


def options(layout: LayoutName, subjects: int = 2, **more: float) -> PhantomOptions:
    return PhantomOptions.model_validate({"layout": layout, "subjects": subjects, **COARSE, **more})


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def contents(root: Path) -> dict[str, str]:
    files = (p for p in sorted(root.rglob("*")) if p.is_file())
    found = {str(p.relative_to(root)): digest(p.read_bytes()) for p in files}
    assert found
    return found


def voxels(path: Path) -> NDArray[np.float32]:
    return np.asarray(nib.as_closest_canonical(nib.load(path)).get_fdata(dtype=np.float32))


def anatomy_and_lesions(some: PhantomOptions, index: int) -> tuple[Anatomy, tuple[Lesion, ...]]:
    layout = LAYOUTS[some.layout]
    rng = np.random.default_rng([some.seed, layout.number, index, 0])
    view = layout.views["T1w"]
    anatomy = look_at(draw_subject(rng, layout.pose), view.grid(some.in_plane_mm, some.slice_mm))
    return anatomy, writer.draw_lesions(some, index, anatomy)


def in_processes(task: Callable[[int], None], indices: Sequence[int]) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        list(pool.map(task, reversed(indices)))


@pytest.mark.slow
def test_other_processes_in_another_order_write_the_same_bytes(tmp_path: Path) -> None:
    writer.ensure(tmp_path / "a", options("brats"))
    writer.ensure(tmp_path / "b", options("brats"), in_processes)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_subject_depends_on_its_number_and_the_options_alone(tmp_path: Path) -> None:
    writer.write_subject(tmp_path / "a", options("atlas", subjects=2), 1)
    writer.write_subject(tmp_path / "b", options("atlas", subjects=9), 1)
    writer.write_subject(tmp_path / "c", options("atlas", subjects=2, seed=1), 1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    image = "c0001/c0001s0002t01/c0001s0002t01_t1w_deface_stx.nii.gz"
    assert contents(tmp_path / "a")[image] != contents(tmp_path / "c")[image]


def test_a_killed_writing_goes_on_and_redoes_no_finished_subject(tmp_path: Path) -> None:
    some = options("ixi", subjects=3)

    def dies_after_one(task: Callable[[int], None], indices: Sequence[int]) -> None:
        task(indices[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.ensure(tmp_path / "a", some, dies_after_one)
    with pytest.raises(SourceError, match="no complete phantom"):
        phantom.list_scans(tmp_path / "a", MODALITIES)
    leftover = tmp_path / "a" / "IXI-T1" / unfinished_name("half.nii.gz")
    leftover.write_bytes(b"half")
    written: list[int] = []

    def noting(task: Callable[[int], None], indices: Sequence[int]) -> None:
        for index in indices:
            written.append(index)
            task(index)

    writer.ensure(tmp_path / "a", some, noting)
    writer.ensure(tmp_path / "a", some, noting)
    assert written == [1, 2]
    writer.ensure(tmp_path / "b", some)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_cleaning_up_leaves_files_of_others_and_what_is_behind_links(tmp_path: Path) -> None:
    mine = tmp_path / "mine" / unfinished_name("scan.nii.gz")
    mine.parent.mkdir()
    mine.touch()
    folder = tmp_path / "a" / "IXI-T1"
    folder.mkdir(parents=True)
    (tmp_path / "a" / STARTED).write_bytes(marker_bytes(options("ixi", 1)))
    (folder / ".notes.tmp").touch()
    (folder / "link").symlink_to(mine.parent)
    writer.ensure(tmp_path / "a", options("ixi", 1))
    assert mine.exists()
    assert (folder / ".notes.tmp").exists()
    assert (folder / "link").is_symlink()


def test_a_folder_of_other_options_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text(
        json.dumps({"version": PHANTOM_VERSION, "options": options("ixi", 4).model_dump()})
    )
    with pytest.raises(SourceError, match="other options \\(subjects 4 instead of 6\\)"):
        writer.ensure(tmp_path, options("ixi", 6))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine.txt", "data", "not empty and holds no phantom"),
        (MARKER, "{", "cannot be read as a phantom's marker"),
        (MARKER, '{"version": 0}', "phantom of version 0"),
        (MARKER, f'{{"version": {PHANTOM_VERSION}}}', "holds no options"),
    ],
)
def test_a_folder_of_anything_else_is_left_alone(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=message):
        writer.ensure(tmp_path, options("ixi"))
    assert contents(tmp_path) == {name: digest(text.encode())}


@pytest.mark.parametrize(
    ("layout", "axes", "first"),
    [
        ("ixi", {"T1w": "PSR", "T2w": "LPS"}, "IXI-T1/IXI001-Phantom-0001-T1.nii.gz"),
        ("atlas", {"T1w": "LAS"}, "c0001/c0001s0001t01/c0001s0001t01_t1w_deface_stx.nii.gz"),
        (
            "brats",
            {"T1w": "LPS", "T2w": "LPS"},
            "HGG/Brats_Phantom_001_1/Brats_Phantom_001_1_t1.nii.gz",
        ),
    ],
)
def test_files_are_listed_by_the_real_source_and_stored_as_its_data(
    tmp_path: Path, layout: LayoutName, axes: dict[str, str], first: str
) -> None:
    writer.ensure(tmp_path, options(layout))
    listing = phantom.list_scans(tmp_path, MODALITIES)
    left_out = [s.path.relative_to(tmp_path) for s in listing.skipped]
    assert {str(path) for path in left_out if path.parts[0] != "truth"} == {"phantom.json"}
    assert listing.scans[0].image == tmp_path / first
    assert len(listing.scans) == 2 * len(axes)
    for scan in listing.scans:
        image = nib.load(scan.image)
        assert "".join(nib.aff2axcodes(image.affine)) == axes[scan.modality]
        assert image.get_data_dtype() == np.int16
        assert scan.image.read_bytes()[4:8] == bytes(4), "gzip noted the time of writing"
        assert bool(scan.lesion_masks) == (layout != "ixi")
        truth = tmp_path / "truth" / scan.image.name.replace(".nii.gz", "_brainmask.nii.gz")
        for mask in (truth, *scan.lesion_masks):
            assert np.array_equal(nib.load(mask).affine, image.affine)
            assert nib.load(mask).shape == image.shape
        brain = voxels(truth) > 0
        assert 1000 < brain.sum() * abs(np.linalg.det(image.affine)) / 1000 < 2100
        assert (scan.stripped is True) == bool((voxels(scan.image) == 0).mean() > 0.5)


def test_lesions_are_inside_the_brain_and_of_plausible_size() -> None:
    shares: dict[LayoutName, list[float]] = {"atlas": [], "brats": []}
    for layout, index in product(shares, range(6)):
        anatomy, lesions = anatomy_and_lesions(options(layout), index)
        labels = np.maximum.reduce([lesion.labels for lesion in lesions])
        assert not (labels[~anatomy.brain] > 0).any()
        assert set(np.unique(labels)) <= ({0, 1} if layout == "atlas" else {0, 1, 2, 4})
        shares[layout].append(float((labels > 0).sum() / anatomy.brain.sum()))
    assert all(0.0005 < share < 0.2 for shares_ in shares.values() for share in shares_)
    assert 0.005 < np.mean(shares["atlas"]) < 0.05
    assert 0.02 < np.mean(shares["brats"]) < 0.12


@pytest.mark.parametrize(("layout", "modality"), [("atlas", "T1w"), ("brats", "T2w")])
def test_without_contrast_not_a_bit_tells_of_a_lesion(
    layout: LayoutName, modality: Modality
) -> None:
    plain, blind = options(layout), options(layout, lesion_contrast=0)
    anatomy, lesions = anatomy_and_lesions(plain, 0)
    args: tuple[int, Modality, Anatomy] = (0, modality, anatomy)
    healthy = writer.scan_voxels(plain, *args, ())
    assert np.array_equal(writer.scan_voxels(blind, *args, lesions), healthy)
    lesioned = writer.scan_voxels(plain, *args, lesions)
    touched = np.maximum.reduce([part.amount for one in lesions for part in one.parts]) > 0
    assert np.array_equal(lesioned[~touched], healthy[~touched])
    inside = np.maximum.reduce([lesion.labels for lesion in lesions]) > 0
    change = float(lesioned[inside].mean()) / float(healthy[inside].mean())
    assert change < 0.92 if modality == "T1w" else change > 1.08


def test_masks_do_not_depend_on_the_contrast(tmp_path: Path) -> None:
    writer.write_subject(tmp_path / "a", options("brats"), 0)
    writer.write_subject(tmp_path / "b", options("brats", lesion_contrast=0), 0)
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    changed = {name for name in a if a[name] != b[name]}
    assert changed == {name for name in a if name.endswith(("_t1.nii.gz", "_t2.nii.gz"))}


def test_two_modalities_show_one_anatomy_in_one_place() -> None:
    some = options("ixi")
    layout = LAYOUTS["ixi"]
    subject = draw_subject(np.random.default_rng(5), layout.pose)
    volumes = []
    for view in layout.views.values():
        anatomy = look_at(subject, view.grid(some.in_plane_mm, some.slice_mm))
        centre = [
            float((axis * anatomy.brain.sum(axis=others)).sum() / anatomy.brain.sum())
            for axis, others in zip(anatomy.grid.axes(), ((1, 2), (0, 2), (0, 1)), strict=True)
        ]
        volumes.append((anatomy.brain.sum() * anatomy.grid.voxel_ml, *centre))
    assert np.allclose(volumes[0], volumes[1], rtol=0.01, atol=0.5)


def test_subjects_differ_in_folding_ventricles_and_cortex_and_not_only_in_noise() -> None:
    brains = [anatomy_and_lesions(options("brats"), index)[0] for index in range(6)]
    for a, b in combinations(brains, 2):
        dice = 2 * (a.brain & b.brain).sum() / (a.brain.sum() + b.brain.sum())
        assert 0.8 < dice < 0.98
        tissue = a.brain & b.brain
        assert np.corrcoef(a.white[tissue], b.white[tissue])[0, 1] < 0.6
    deep = [one.fluid[one.depth < -25].sum() for one in brains]
    assert max(deep) > 2 * min(deep)
    grey = [one.grey[one.brain].sum() / (one.grey + one.white)[one.brain].sum() for one in brains]
    assert np.ptp(grey) > 0.05


def test_no_subject_is_folded_over_itself() -> None:
    grid = LAYOUTS["brats"].views["T1w"].grid(2.0, 2.0)
    for index in range(4):
        rng = np.random.default_rng(index)
        points = template_points(draw_subject(rng, LAYOUTS["brats"].pose), grid.axes())
        slopes = np.stack([np.stack(np.gradient(p, 2.0), axis=-1) for p in points], axis=-2)
        assert np.linalg.det(slopes).min() > 0


def test_tissue_contrast_differs_between_subjects_and_keeps_its_sign() -> None:
    for modality in MODALITIES:
        scanner = LAYOUTS["ixi"].scanner
        found = [draw_signals(np.random.default_rng(i), modality, scanner) for i in range(50)]
        steps = np.array([[s.fluid - s.grey, s.grey - s.white] for s in found])
        assert len(np.unique(np.sign(steps), axis=0)) == 1
        assert (steps.std(axis=0) > 0.08 * abs(steps.mean(axis=0))).all()


def test_a_smooth_field_has_its_spread_and_is_the_same_on_any_grid() -> None:
    box = ((-60.0, 60.0), (-60.0, 60.0), (-60.0, 60.0))
    field = SmoothField.random(np.random.default_rng(0), 9.0, 2.0)
    fine = field.on(SamplingGrid.covering(box, (1.0, 1.0, 2.0)).axes())
    coarse = field.on(SamplingGrid.covering(box, (3.0, 3.0, 6.0)).axes())
    assert fine.std() == pytest.approx(2.0, rel=0.1)
    assert np.allclose(fine[1::3, 1::3, 1::3], coarse, atol=1e-4)


@pytest.mark.slow
def test_deepbet_finds_the_brain_in_both_modalities(tmp_path: Path) -> None:
    from datasets.brain import extract_brain
    from datasets.nifti import load_mask, load_volume
    from datasets.repair import widen_at_lesions

    least: dict[Modality, float] = {"T1w": 0.95, "T2w": 0.93}
    writer.ensure(tmp_path, PhantomOptions(layout="ixi", subjects=1))
    for scan in phantom.list_scans(tmp_path, MODALITIES).scans:
        volume = load_volume(scan.image)
        name = scan.image.name.replace(".nii.gz", "_brainmask.nii.gz")
        truth, _ = load_mask(tmp_path / "truth" / name, volume, scan.image)
        found = extract_brain(volume, scan).mask_XYZ
        dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
        assert dice >= least[scan.modality], scan.modality
        widened = widen_at_lesions(found, volume.data_XYZ, volume.spacing_mm)
        added_ml = (widened & ~found).sum() * np.prod(volume.spacing_mm) / 1000
        assert added_ml < 1, "a healthy head has no dark lesion"


@pytest.mark.slow
def test_widened_masks_keep_lesions_at_the_cortex_that_are_as_dark_as_fluid(tmp_path: Path) -> None:
    from datasets.brain import extract_brain
    from datasets.nifti import Volume, load_mask, load_volume

    writer.ensure(tmp_path, PhantomOptions(layout="ixi", subjects=1))
    (scan,) = phantom.list_scans(tmp_path, ("T1w",)).scans
    volume = load_volume(scan.image)
    name = scan.image.name.replace(".nii.gz", "_brainmask.nii.gz")
    truth, _ = load_mask(tmp_path / "truth" / name, volume, scan.image)
    inside = volume.data_XYZ[truth]
    fluid = float(np.percentile(inside, 2))
    assert fluid < 0.5 * np.median(inside)
    # The outermost voxel of the brain about half-way up the left side, and half a sphere in it.
    z = int(np.median(np.argwhere(truth)[:, 2])) + round(15 / volume.spacing_mm[2])
    x, y = min(map(tuple, np.argwhere(truth[:, :, z])))
    index = np.indices(truth.shape)
    steps = zip(index, (x, y, z), volume.spacing_mm, strict=True)
    lesion = (sum(((i - at) * mm) ** 2 for i, at, mm in steps) < 25**2) & truth
    data = np.where(lesion, np.float32(fluid), volume.data_XYZ)
    stroke = Volume(data, volume.affine, volume.spacing_mm)
    plain = extract_brain(stroke, scan)
    brain = extract_brain(stroke, scan, widened=True)
    lost = [(lesion & ~one.mask_XYZ).sum() / lesion.sum() for one in (plain, brain)]
    assert lost[1] < 0.5 * lost[0]
    assert any("widened the brain mask" in note for note in brain.notes)
    assert not any("widened" in note for note in plain.notes)
