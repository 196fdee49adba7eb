"""The contract every file in ``trainables/models`` keeps, whatever it is inside."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load, save

from trainables.detector import Detector, Params, State, detector_class, model_names
from trainables.slices import Slices


@pytest.fixture
def train(make_slices) -> Slices:
    return make_slices(10)


@pytest.fixture
def validation(make_slices) -> Slices:
    return make_slices(4, seed=1)


@pytest.fixture(scope="session")
def held_out(make_slices) -> tuple[np.ndarray, np.ndarray]:
    """Read-only images and brain masks, as a view of shared memory would give them."""
    slices = make_slices(5, seed=2)
    batch = slices.batch(slice(0, 5))
    batch.images_BHW.flags.writeable = False
    batch.brain_BHW.flags.writeable = False
    return batch.images_BHW, batch.brain_BHW


def same(state: State, other: State) -> bool:
    return state.keys() == other.keys() and all(
        (a.dtype, a.shape, a.tobytes()) == (other[k].dtype, other[k].shape, other[k].tobytes())
        for k, a in state.items()
    )


def equal(maps: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return maps.keys() == other.keys() and all((maps[k] == other[k]).all() for k in maps)


@pytest.mark.parametrize("name", model_names())
class TestDetector:
    """One contract, run over every detector found."""

    @pytest.fixture
    def make(self, name: str) -> Callable[[], Detector]:
        """Builds detectors with the smallest settings that suffice."""
        model_class = detector_class(name)
        small = {"n_c": 2, "n_z": 8, "batch_size": 4, "gmm_lambda": 0.01}
        known = {k: v for k, v in small.items() if k in model_class.Params.model_fields}
        params = model_class.Params.model_validate(known)
        return lambda: model_class(params, seed=1)

    @pytest.fixture
    def fitted(self, make, train, validation) -> Detector:
        detector = make()
        list(detector.fit(train, validation, 1))
        return detector

    def test_settings_are_frozen_and_refuse_unknown_names(self, name):
        params = detector_class(name).Params
        assert issubclass(params, Params)
        assert params.model_config["frozen"] is True
        with pytest.raises(ValidationError, match="no_such_setting"):
            params.model_validate({"no_such_setting": 1})

    def test_sizes_are_known_before_fitting(self, make):
        detector = make()
        assert isinstance(detector.n_parameters, int)
        assert detector.n_parameters >= 0
        assert np.isfinite(detector.flops_per_slice())
        assert detector.flops_per_slice() >= 0

    def test_epochs_count_on_from_where_the_fit_stood(self, make, train, validation):
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

    def test_a_longer_fit_ends_as_if_asked_for_at_once(self, make, train, validation):
        if not make().TRAINS_BY_EPOCHS:
            return
        straight, raised = make(), make()
        list(straight.fit(train, validation, 3))
        list(raised.fit(train, validation, 2))
        list(raised.fit(train, validation, 3))
        assert same(raised.state(), straight.state())
        assert same(raised.weights(), straight.weights())

    def test_a_loaded_state_counts_as_fitted(self, make, fitted, train, validation):
        continued = make()
        continued.load_state(fitted.state())
        assert list(continued.fit(train, validation, 1)) == []
        assert same(continued.state(), fitted.state())

    def test_losses_are_numbers_or_absent(self, make, train, validation):
        for given in (validation, None):
            (metrics,) = make().fit(train, given, 1)
            losses = [metrics.train_loss, metrics.validation_loss]
            assert all(x is None or (type(x) is float and np.isfinite(x)) for x in losses)
            assert given is not None or metrics.validation_loss is None

    def test_the_same_seed_and_data_give_the_same_bits(self, make, fitted, train, validation):
        again = make()
        list(again.fit(train, validation, 1))
        assert same(again.state(), fitted.state())

    def test_state_survives_safetensors(self, make, fitted, held_out):
        state = fitted.state()
        assert all(isinstance(array, np.ndarray) for array in state.values())
        stored = load(save(dict(state)))
        assert same(stored, state)
        restored = make()
        restored.load_state(stored)
        assert same(restored.state(), state)

    def test_weights_alone_are_enough_to_score(self, make, fitted, held_out):
        weights = load(save(dict(fitted.weights())))
        assert all(name.startswith("model.") for name in weights)
        restored = make()
        restored.load_state(weights)
        assert equal(restored.score(*held_out), fitted.score(*held_out))
        assert equal(restored.pictures(*held_out), fitted.pictures(*held_out))

    def test_a_state_is_a_copy_both_ways(self, make, fitted, held_out):
        state = {k: v.copy() for k, v in fitted.weights().items()}
        restored = make()
        restored.load_state(state)
        before = restored.score(*held_out)
        given = (state, fitted.state(), fitted.weights(), restored.state(), restored.weights())
        for array in (array for arrays in given for array in arrays.values()):
            array[...] = 0
        assert equal(restored.score(*held_out), before)
        assert equal(fitted.score(*held_out), before)

    def test_a_state_with_an_unknown_name_is_refused(self, make, fitted):
        state = dict(fitted.state()) | {"model.no_such_weight": np.zeros(1, np.float32)}
        with pytest.raises(ValueError, match="no_such_weight"):
            make().load_state(state)

    def test_a_state_with_a_missing_or_misshapen_weight_is_refused(self, make, fitted):
        state = dict(fitted.state())
        weights = [k for k in state if k.startswith("model.")]
        assert bool(weights) == bool(fitted.n_parameters)
        for name in weights[:3] + weights[-3:]:
            with pytest.raises(ValueError):
                make().load_state({k: v for k, v in state.items() if k != name})
            with pytest.raises(ValueError):
                make().load_state(state | {name: np.zeros((3, 3, 3), state[name].dtype)})

    def test_scores_are_finite_float32_maps_in_order(self, fitted, held_out):
        maps = fitted.score(*held_out)
        assert tuple(maps) == fitted.SCORES
        assert len(maps) > 0
        for score in maps.values():
            assert score.shape == held_out[0].shape
            assert score.dtype == np.float32
            assert np.isfinite(score).all()
            assert np.ptp(score) > 0

    def test_pictures_are_finite_float32_maps_and_no_scores(self, fitted, held_out):
        pictures = fitted.pictures(*held_out)
        assert not pictures.keys() & set(fitted.SCORES)
        for picture in pictures.values():
            assert picture.shape == held_out[0].shape
            assert picture.dtype == np.float32
            assert np.isfinite(picture).all()

    def test_a_score_does_not_depend_on_its_batch(self, fitted, held_out):
        images, brain = held_out
        together = fitted.score(images, brain)
        for i in range(len(images)):
            alone = fitted.score(images[i : i + 1], brain[i : i + 1])
            for name, score in together.items():
                tolerance = 1e-3 * np.ptp(score)
                np.testing.assert_allclose(alone[name][0], score[i], rtol=1e-3, atol=tolerance)

    def test_no_slices_have_no_scores(self, fitted, held_out):
        images, brain = held_out
        maps = fitted.score(images[:0], brain[:0])
        assert {k: v.shape for k, v in maps.items()} == dict.fromkeys(fitted.SCORES, (0, 128, 128))

    def test_inputs_are_never_changed(self, make, train, validation, held_out):
        """They are read-only, too: writing through torch would not fail."""
        arrays = [train.images_NHW, train.brain_bits_NK, validation.images_NHW, *held_out]
        assert not any(array.flags.writeable for array in arrays)
        before = [array.copy() for array in arrays]
        detector = make()
        list(detector.fit(train, validation, 1))
        maps = detector.score(*held_out) | detector.pictures(*held_out)
        for score in maps.values():
            if score.flags.writeable:
                score[...] = -1
        assert all((a == b).all() for a, b in zip(arrays, before, strict=True))
