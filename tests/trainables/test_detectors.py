"""The contract every file in ``trainables/models`` keeps, whatever it is inside."""

import pytest

from trainables.detector import Detector
from trainables.registry import describe, detector_class, model_names
from trainables.testing import DetectorContract


@pytest.mark.parametrize("name", model_names())
class TestDetector(DetectorContract):
    """One contract, run over every detector found."""

    @pytest.fixture
    def model(self, name: str) -> type[Detector]:
        return detector_class(name)


def test_each_model_has_a_label_and_a_place_of_its_own():
    found = {name: describe(name) for name in model_names()}
    order = sorted(found, key=lambda name: found[name].place)
    assert order == ["intensity", "gmm", "ae", "dae", "vae"]
    assert len({info.label for info in found.values()}) == len(found)
