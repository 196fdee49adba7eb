import numpy as np
import pytest

from trainables.detector import score_names
from trainables.models.intensity import Model


def _model():
    return Model(Model.Params(), seed=0)


def test_scores_are_the_intensity_as_it_is_and_turned(make_slices):
    batch = make_slices(3).batch(slice(0, 3))
    maps = _model().score(batch.images_BHW, batch.brain_BHW)
    assert tuple(maps) == score_names(Model)
    np.testing.assert_array_equal(maps["intensity"], batch.images_BHW)
    np.testing.assert_array_equal(maps["negative_intensity"], -batch.images_BHW)


def test_scores_are_copies(make_slices):
    batch = make_slices(1).batch(slice(0, 1))
    maps = _model().score(batch.images_BHW, batch.brain_BHW)
    maps["intensity"][:] = 7
    assert batch.images_BHW.max() < 7


def test_a_fit_is_one_epoch_without_a_loss(make_slices):
    model = _model()
    (metrics,) = model.fit(make_slices(5), None, 3)
    assert (metrics.epoch, metrics.n_slices) == (1, 5)
    assert metrics.train_loss is None
    assert list(model.fit(make_slices(5), None, 3)) == []


def test_a_fit_that_is_loaded_is_not_repeated(make_slices):
    model, other = _model(), _model()
    list(model.fit(make_slices(1), None, 1))
    other.load_state(model.state())
    assert list(other.fit(make_slices(1), None, 1)) == []


def test_a_foreign_state_is_refused():
    with pytest.raises(ValueError, match=r"model\.means"):
        _model().load_state({"model.means": np.zeros(4)})
