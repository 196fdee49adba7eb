"""Figures of single subjects: those of scikit-learn on the pixels themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from study.report.subjects import SIZES, Seed, of_size, subject_figures
from trainables.evaluate import Evaluation, evaluate
from trainables.slices import Slices
from trainables.spec import TrialSpec
from trainables.testing import healthy_slices

PER_SUBJECT, PIXEL_ML = 5, 0.02


def _test_set() -> Slices:
    """Four subjects with lesions of other sizes and contrasts, and a fifth without."""
    n = 5 * PER_SUBJECT
    slices = healthy_slices(n, seed=8, slices_per_subject=PER_SUBJECT)
    images, lesion_NHW = slices.images_NHW.copy(), np.zeros((n, 128, 128), bool)
    rng = np.random.default_rng(8)
    for subject, side in enumerate((4, 9, 16, 24)):
        rows = slice(subject * PER_SUBJECT, subject * PER_SUBJECT + 2 + subject % 2)
        lesion_NHW[rows, 50 : 50 + side, 46 : 46 + side] = True
    lesion_NHW &= slices.batch(slice(None)).brain_BHW
    images[lesion_NHW] += rng.uniform(-0.3, 0.9, int(lesion_NHW.sum())).astype(np.float16)
    return replace(
        slices,
        images_NHW=images,
        lesion_bits_NK=np.packbits(lesion_NHW.reshape(n, -1), axis=1),
        subjects=tuple(f"stroke/{name}" for name in "abcde"),
        voxel_ml_N=np.full(n, PIXEL_ML),
    )


@pytest.fixture(scope="module")
def test_set() -> Slices:
    return _test_set()


@pytest.fixture(scope="module")
def found(test_set: Slices) -> Evaluation:
    return evaluate(TrialSpec(model="intensity", modality="T1w").completed().detector(), test_set)


def _seed(found: Evaluation, score: str, region: str) -> Seed:
    def of(table: pa.Table) -> pa.Table:
        return table.filter(
            pc.and_(pc.equal(table["score"], score), pc.equal(table["region"], region))
        )

    return Seed(of(found.subjects), of(found.metrics)["best_dice_threshold"][0].as_py())


def _pixels(test_set: Slices, subject: int, region: str) -> tuple[Any, Any]:
    batch = test_set.batch(slice(subject * PER_SUBJECT, (subject + 1) * PER_SUBJECT))
    mask = batch.brain_BHW if region == "brain" else np.ones_like(batch.brain_BHW)
    return batch.lesion_BHW[mask], batch.images_BHW[mask]


@pytest.mark.parametrize("region", ["brain", "slice"])
@pytest.mark.parametrize(("score", "sign"), [("intensity", 1), ("negative_intensity", -1)])
def test_figures_are_those_of_scikit_learn_on_the_pixels(
    score: str, sign: int, region: str, found: Evaluation, test_set: Slices
) -> None:
    seed = _seed(found, score, region)
    assert seed.threshold is not None
    figures = {one.subject: one for one in subject_figures([seed], {})}
    assert len(figures) == 5
    for number, name in enumerate(test_set.subjects[:4]):
        lesion, value = _pixels(test_set, number, region)
        one = figures[name]
        assert one.auc == pytest.approx(roc_auc_score(lesion, sign * value), abs=1e-6)
        precision = average_precision_score(lesion, sign * value)
        assert one.average_precision == pytest.approx(precision, abs=1e-4)
        # Entries of compact counts near a threshold hold at most .4 % of a subject's pixels.
        dice = f1_score(lesion, sign * value >= seed.threshold)
        assert one.dice == pytest.approx(dice, abs=0.01)
        assert (one.n_pixels, one.n_positive) == (len(lesion), int(lesion.sum()))
        assert one.lesion_ml == pytest.approx(lesion.sum() * PIXEL_ML)


def test_the_worst_comes_first_and_who_has_no_lesion_last_without_figures(
    found: Evaluation,
) -> None:
    subjects = subject_figures([_seed(found, "intensity", "brain")], {})
    aucs = [one.auc for one in subjects[:-1]]
    assert None not in aucs
    assert aucs == sorted(aucs)
    last = subjects[-1]
    assert (last.subject, last.has_lesion, last.lesion_ml) == ("stroke/e", False, 0.0)
    assert (last.auc, last.average_precision, last.dice) == (None, None, None)


def test_figures_of_several_seeds_are_their_means_over_the_subjects_of_all(
    found: Evaluation,
) -> None:
    one, other = (_seed(found, s, "brain") for s in ("intensity", "negative_intensity"))
    few = replace(other, subjects=other.subjects.filter(pc.field("subject") != "stroke/b"))
    means = {s.subject: s for s in subject_figures([one, few], {})}
    assert set(means) == {"stroke/a", "stroke/c", "stroke/d", "stroke/e"}
    alone = [{s.subject: s for s in subject_figures([seed], {})} for seed in (one, few)]
    for name in ("stroke/a", "stroke/c"):
        for figure in ("auc", "average_precision", "dice"):
            values = [getattr(some[name], figure) for some in alone]
            assert getattr(means[name], figure) == pytest.approx(np.mean(values))
        assert means[name].auc_sd == pytest.approx(np.std([s[name].auc for s in alone], ddof=1))
        assert alone[0][name].auc_sd is None
    assert subject_figures([], {}) == ()


def test_without_a_threshold_there_is_no_dice_and_all_else_stays(found: Evaluation) -> None:
    seed = _seed(found, "intensity", "brain")
    with_one, without = (subject_figures([s], {}) for s in (seed, replace(seed, threshold=None)))
    assert all(one.dice is None for one in without)
    assert [replace(one, dice=None) for one in with_one] == list(without)


def test_sizes_part_the_subjects_with_lesions_by_the_volumes_of_the_scans(
    found: Evaluation,
) -> None:
    volumes = {"stroke/a": 1.0, "stroke/b": 1.001, "stroke/c": 10.0, "stroke/d": 10.1}
    subjects = subject_figures([_seed(found, "intensity", "brain")], volumes)
    names = {size: sorted(s.subject[-1] for s in of_size(subjects, size)) for size in SIZES}
    assert names == {
        "all": ["a", "b", "c", "d", "e"],
        "under 1 ml": ["a"],
        "1 to 10 ml": ["b", "c"],
        "over 10 ml": ["d"],
    }
    with pytest.raises(ValueError, match="huge"):
        of_size(subjects, "huge")
