"""The contract every file in ``trainables/models`` keeps, whatever it is inside."""

import pytest

from tests.plugins import install_here
from trainables.description import LAST_PLACE
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
    places = {name: info.place for name, info in found.items()}
    assert len(set(places.values())) == len({info.label for info in found.values()}) == len(found)
    papers = ["intensity", "gmm", "ae", "dae", "vae"]
    assert sorted(places, key=lambda name: places[name])[: len(papers)] == papers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no class Model"),
        ("class Model: pass", "has no class Model that derives from"),
        (
            "from trainables.models import gmm\nclass Model(gmm.Model): SCORES = ('outlier_sum',)",
            "SCORES of the model 'mine' has to be of Score",
        ),
    ],
)
def test_a_file_that_is_no_detector_is_told_so(text, said, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.py").write_text(text)
    install_here(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match=said):
        detector_class("mine")


def test_a_model_that_derives_from_another_is_not_called_like_it(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "derived.py").write_text(
        "from trainables.models import gmm\nclass Model(gmm.Model): pass\n"
    )
    install_here(monkeypatch, tmp_path)
    info = describe("derived")
    assert (info.label, info.place) == ("derived", LAST_PLACE)
    assert [setting.name for setting in info.axes] == ["gmm_lambda"]
