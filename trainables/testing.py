"""The contract of a detector as tests: for the project's own models and for those of others.

A test of a model, in any distribution, is a class that names it; pytest runs the rest::

    from trainables.testing import DetectorContract

    import blurred


    class TestBlurred(DetectorContract):
        detector = blurred.Model

Needs pytest, which nothing else of the package does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import ClassVar, TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.numpy import load, save

from trainables.detector import Detector, EpochMetrics, Params, State, score_names
from trainables.slices import Slices

Make: TypeAlias = Callable[[], Detector]
HeldOut: TypeAlias = tuple[NDArray[np.float32], NDArray[np.bool_]]


def healthy_slices(n: int, seed: int = 0, slices_per_subject: int = 4) -> Slices:
    """Read-only slices of textured ellipses that pass for healthy brains.

    Args:
        n: How many.
        seed: Of the random generator.
        slices_per_subject: How many are of one subject.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:128, :128] - 63.5
    images, brains = [], []
    for _ in range(n):
        a, b = rng.uniform(35, 55, size=2)
        brain = (y / a) ** 2 + (x / b) ** 2 < 1
        waves = np.sin(x / rng.uniform(4, 16)) * np.cos(y / rng.uniform(4, 16))
        texture = 1 + 0.4 * waves + 0.05 * rng.standard_normal((128, 128))
        images.append(np.where(brain, np.maximum(texture, 0.01), 0))
        brains.append(np.packbits(brain))
    subject = np.arange(n) // slices_per_subject
    slices = Slices(
        images_NHW=np.array(images, dtype=np.float16).reshape(n, 128, 128),
        brain_bits_NK=np.array(brains, dtype=np.uint8).reshape(n, 2048),
        lesion_bits_NK=np.zeros((n, 2048), dtype=np.uint8),
        subject_N=subject.astype(np.int32),
        slice_index_N=(np.arange(n) % slices_per_subject).astype(np.int32),
        subjects=tuple(f"ellipses/{i:03d}" for i in range(int(subject.max(initial=-1)) + 1)),
    )
    for array in (slices.images_NHW, slices.brain_bits_NK, slices.lesion_bits_NK):
        array.flags.writeable = False
    return slices


def same(state: State, other: State) -> bool:
    """Whether two states are the same to the last bit."""
    return state.keys() == other.keys() and all(
        (a.dtype, a.shape, a.tobytes()) == (other[k].dtype, other[k].shape, other[k].tobytes())
        for k, a in state.items()
    )


def equal(maps: dict[str, NDArray[np.float32]], other: dict[str, NDArray[np.float32]]) -> bool:
    """Whether two sets of maps are equal."""
    return maps.keys() == other.keys() and all((maps[k] == other[k]).all() for k in maps)


class DetectorContract:
    """What every detector keeps, whatever it is inside; see the module.

    A test sets ``detector``, or overrides the fixture ``model``. The settings are those of the
    detector's ``smallest()``.
    """

    detector: ClassVar[type[Detector]]

    @pytest.fixture(autouse=True)
    def _one_thread(self) -> Iterator[None]:
        """Bit-identity is promised for one thread."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)

    @pytest.fixture
    def model(self) -> type[Detector]:
        """The detector under test."""
        return self.detector

    @pytest.fixture
    def make(self, model: type[Detector]) -> Make:
        """Builds detectors with the smallest settings that suffice."""
        params = model.smallest()
        return lambda: model(params, seed=1)

    @pytest.fixture
    def train(self) -> Slices:
        """Slices to fit on."""
        return healthy_slices(10)

    @pytest.fixture
    def validation(self) -> Slices:
        """Slices of other subjects."""
        return healthy_slices(4, seed=1)

    @pytest.fixture
    def held_out(self) -> HeldOut:
        """Read-only images and brain masks, as a view of shared memory would give them."""
        batch = healthy_slices(5, seed=2).batch(slice(0, 5))
        batch.images_BHW.flags.writeable = False
        batch.brain_BHW.flags.writeable = False
        return batch.images_BHW, batch.brain_BHW

    def test_what_people_compare_are_its_own_settings(self, model: type[Detector]) -> None:
        names = [setting.name for setting in model.SETTINGS]
        assert set(names) <= set(model.Params.model_fields)
        assert len(set(names)) == len(names)
        values = model.smallest().model_dump(mode="json")
        assert all(isinstance(values[name], bool | int | float | str) for name in names)

    def test_scores_have_names_of_their_own(self, model: type[Detector]) -> None:
        names = score_names(model, [score.name for score in model.MORE_SCORES])
        assert names
        assert len(set(names)) == len(names)

    def test_its_smallest_settings_are_its_own(self, model: type[Detector]) -> None:
        assert isinstance(model.smallest(), model.Params)
        assert isinstance(model.VERSION, int)

    @pytest.fixture
    def fitted(self, make: Make, train: Slices, validation: Slices) -> Detector:
        """A detector after an epoch."""
        detector = make()
        list(detector.fit(train, validation, 1))
        return detector

    def test_settings_are_frozen_and_refuse_unknown_names(self, model: type[Detector]) -> None:
        params = model.Params
        assert issubclass(params, Params)
        assert params.model_config["frozen"] is True
        with pytest.raises(ValidationError, match="no_such_setting"):
            params.model_validate({"no_such_setting": 1})

    def test_sizes_are_known_before_fitting(self, make: Make) -> None:
        detector = make()
        assert isinstance(detector.n_parameters, int)
        assert detector.n_parameters >= 0
        assert np.isfinite(detector.flops_per_slice())
        assert detector.flops_per_slice() >= 0

    def test_epochs_count_on_from_where_the_fit_stood(
        self, make: Make, train: Slices, validation: Slices
    ) -> None:
        detector = make()
        last = 2 if detector.TRAINS_BY_EPOCHS else 1
        first = list(detector.fit(train, validation, last))
        assert [m.epoch for m in first] == list(range(1, last + 1))
        assert all(m.n_slices <= len(train) for m in first)
        assert all(b.steps > a.steps for a, b in pairwise(first))
        assert list(detector.fit(train, validation, last)) == []
        if detector.TRAINS_BY_EPOCHS:
            more = [m.epoch for m in detector.fit(train, validation, 3)]
            assert more == list(range(more[0], 4))  # it may go back to where a decay began

    def test_a_longer_fit_ends_as_if_asked_for_at_once(
        self, make: Make, train: Slices, validation: Slices
    ) -> None:
        if not make().TRAINS_BY_EPOCHS:
            return
        straight, raised = make(), make()
        list(straight.fit(train, validation, 3))
        list(raised.fit(train, validation, 2))
        list(raised.fit(train, validation, 3))
        assert same(raised.state(), straight.state())
        assert same(raised.weights(), straight.weights())

    def test_a_loaded_state_counts_as_fitted(
        self, make: Make, fitted: Detector, train: Slices, validation: Slices
    ) -> None:
        continued = make()
        continued.load_state(fitted.state())
        assert list(continued.fit(train, validation, 1)) == []
        assert same(continued.state(), fitted.state())

    def test_losses_are_numbers_or_absent(
        self, make: Make, train: Slices, validation: Slices
    ) -> None:
        for given in (validation, None):
            (metrics,) = make().fit(train, given, 1)
            assert isinstance(metrics, EpochMetrics)
            losses = [metrics.train_loss, metrics.validation_loss]
            assert all(x is None or (type(x) is float and np.isfinite(x)) for x in losses)
            assert given is not None or metrics.validation_loss is None

    def test_the_same_seed_and_data_give_the_same_bits(
        self, make: Make, fitted: Detector, train: Slices, validation: Slices
    ) -> None:
        again = make()
        list(again.fit(train, validation, 1))
        assert same(again.state(), fitted.state())

    def test_state_survives_safetensors(
        self, make: Make, fitted: Detector, held_out: HeldOut
    ) -> None:
        state = fitted.state()
        assert all(isinstance(array, np.ndarray) for array in state.values())
        stored = load(save(dict(state)))
        assert same(stored, state)
        restored = make()
        restored.load_state(stored)
        assert same(restored.state(), state)

    def test_weights_alone_are_enough_to_score(
        self, make: Make, fitted: Detector, held_out: HeldOut
    ) -> None:
        weights = load(save(dict(fitted.weights())))
        assert all(name.startswith("model.") for name in weights)
        restored = make()
        restored.load_state(weights)
        assert equal(restored.score(*held_out), fitted.score(*held_out))
        assert equal(restored.pictures(*held_out), fitted.pictures(*held_out))

    def test_a_state_is_a_copy_both_ways(
        self, make: Make, fitted: Detector, held_out: HeldOut
    ) -> None:
        state = {k: v.copy() for k, v in fitted.weights().items()}
        restored = make()
        restored.load_state(state)
        before = restored.score(*held_out)
        given = (state, fitted.state(), fitted.weights(), restored.state(), restored.weights())
        for array in (array for arrays in given for array in arrays.values()):
            array[...] = 0
        assert equal(restored.score(*held_out), before)
        assert equal(fitted.score(*held_out), before)

    def test_a_state_with_an_unknown_name_is_refused(self, make: Make, fitted: Detector) -> None:
        state = dict(fitted.state()) | {"model.no_such_weight": np.zeros(1, np.float32)}
        with pytest.raises(ValueError, match="no_such_weight"):
            make().load_state(state)

    def test_a_state_with_a_missing_or_misshapen_weight_is_refused(
        self, make: Make, fitted: Detector
    ) -> None:
        state = dict(fitted.state())
        weights = [k for k in state if k.startswith("model.")]
        assert bool(weights) == bool(fitted.n_parameters)
        for name in weights[:3] + weights[-3:]:
            with pytest.raises(ValueError):
                make().load_state({k: v for k, v in state.items() if k != name})
            with pytest.raises(ValueError):
                make().load_state(state | {name: np.zeros((3, 3, 3), state[name].dtype)})

    def test_scores_are_finite_float32_maps_in_order(
        self, fitted: Detector, held_out: HeldOut
    ) -> None:
        maps = fitted.score(*held_out)
        assert tuple(maps) == score_names(fitted)
        assert len(maps) > 0
        for score in maps.values():
            assert score.shape == held_out[0].shape
            assert score.dtype == np.float32
            assert np.isfinite(score).all()
            assert np.ptp(score) > 0

    def test_pictures_are_finite_float32_maps_and_no_scores(
        self, fitted: Detector, held_out: HeldOut
    ) -> None:
        pictures = fitted.pictures(*held_out)
        assert not pictures.keys() & set(score_names(fitted))
        for picture in pictures.values():
            assert picture.shape == held_out[0].shape
            assert picture.dtype == np.float32
            assert np.isfinite(picture).all()

    def test_a_score_does_not_depend_on_its_batch(
        self, fitted: Detector, held_out: HeldOut
    ) -> None:
        images, brain = held_out
        together = fitted.score(images, brain)
        for i in range(len(images)):
            alone = fitted.score(images[i : i + 1], brain[i : i + 1])
            for name, score in together.items():
                tolerance = 1e-3 * float(np.ptp(score))
                np.testing.assert_allclose(alone[name][0], score[i], rtol=1e-3, atol=tolerance)

    def test_scores_to_ask_for_keep_what_the_others_keep(
        self, fitted: Detector, held_out: HeldOut
    ) -> None:
        images, brain = held_out
        before = fitted.weights()
        asked = [score.name for score in fitted.MORE_SCORES]
        maps = fitted.more_scores(asked[::-1], images, brain)
        assert tuple(maps) == tuple(asked) == score_names(fitted, asked)[len(fitted.SCORES) :]
        for name, score in maps.items():
            assert score.shape == images.shape
            assert score.dtype == np.float32
            assert np.isfinite(score).all()
            assert np.ptp(score) > 0
            alone = fitted.more_scores([name], images[1:2], brain[1:2])[name][0]
            tolerance = 1e-3 * float(np.ptp(score))
            np.testing.assert_allclose(alone, score[1], rtol=1e-3, atol=tolerance)
            assert fitted.more_scores([name], images[:0], brain[:0])[name].shape == (0, 128, 128)
        assert same(fitted.weights(), before)

    def test_no_slices_have_no_scores(self, fitted: Detector, held_out: HeldOut) -> None:
        images, brain = held_out
        maps = fitted.score(images[:0], brain[:0])
        assert {k: v.shape for k, v in maps.items()} == dict.fromkeys(
            score_names(fitted), (0, 128, 128)
        )

    def test_inputs_are_never_changed(
        self, make: Make, train: Slices, validation: Slices, held_out: HeldOut
    ) -> None:
        """They are read-only, too: writing through torch would not fail."""
        arrays: list[NDArray[np.generic]] = [train.images_NHW, train.brain_bits_NK]
        arrays += [validation.images_NHW, *held_out]
        assert not any(array.flags.writeable for array in arrays)
        before = [array.copy() for array in arrays]
        detector = make()
        list(detector.fit(train, validation, 1))
        maps = detector.score(*held_out) | detector.pictures(*held_out)
        for score in maps.values():
            if score.flags.writeable:
                score[...] = -1
        assert all((a == b).all() for a, b in zip(arrays, before, strict=True))
