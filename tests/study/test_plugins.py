"""A model, a score, a grid and an installed model of somebody else's: one file each, no other.

One study is run with all of them, in a folder outside the package; then the VAE is given another
score, and the same command is given again.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from study.errors import UsageError
from study.grids._grid import load_grid
from study.records.index import load_index
from tests.apps import opener
from tests.commands import Command, begin
from tests.heads import write_cohorts
from tests.plugins import install, install_distribution
from tests.stores import open_study, stamps
from trainables.models import vae

BLUR = '''
"""The intensity of a blurred image."""

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy.ndimage import gaussian_filter1d

from trainables.description import Score, Setting
from trainables.detector import Params
from trainables.models import intensity


class BlurParams(Params):
    """Settings.

    Attributes:
        blur: Standard deviation of the blur in pixels.
    """

    blur: float = Field(gt=0)


class Model(intensity.Model):
    """The detector ``blurred``."""

    Params: ClassVar = BlurParams
    LABEL: ClassVar = "Blurred intensity"
    SCORES: ClassVar = (Score("blurred", "blurred intensity", "B"),)
    SETTINGS: ClassVar = (Setting("blur", "blur", "pixels"),)

    @classmethod
    def smallest(cls):
        return BlurParams(blur=1.0)

    def __init__(self, params, *, seed, device="cpu"):
        super().__init__(params, seed=seed, device=device)
        self._blur = params.blur

    def score(self, images_BHW, brain_BHW):
        blurred_BHW = images_BHW.astype(np.float32)
        for axis in (1, 2):
            blurred_BHW = gaussian_filter1d(blurred_BHW, self._blur, axis=axis)
        return {"blurred": blurred_BHW}
'''

LAB = '''
"""A lab's own model: the intensity, whose sign is a word."""

from typing import ClassVar, Literal

from trainables.description import Score, Setting
from trainables.detector import Params
from trainables.models import intensity


class LabParams(Params):
    sign: Literal["bright", "dark"] = "bright"


class Model(intensity.Model):
    Params: ClassVar = LabParams
    SCORES: ClassVar = (Score("lab_score"),)
    SETTINGS: ClassVar = (Setting("sign"),)

    def __init__(self, params, *, seed, device="cpu"):
        super().__init__(params, seed=seed, device=device)
        self._name = "intensity" if params.sign == "bright" else "negative_intensity"

    def score(self, images_BHW, brain_BHW):
        return {"lab_score": super().score(images_BHW, brain_BHW)[self._name]}
'''

GRID = '''
"""Every plug-in of this test, and the VAE as small as it gets."""

from study.grids._grid import Grid, GridSearch, GridTrial

GRID = Grid(
    trials=(
        GridTrial("intensity"),
        *(GridTrial("blurred", {"blur": blur}) for blur in (1.0, 4.0)),
        GridTrial("lab"),
        GridTrial("vae", {"n_c": 2, "n_z": 8, "batch_size": 16}),
    ),
    searches=(GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(0.1,)),),
    phantom_subjects={},
)
'''

CONTRACT = """
from trainables.registry import detector_class
from trainables.testing import DetectorContract


class TestBlurred(DetectorContract):
    detector = detector_class("blurred")


class TestLab(DetectorContract):
    detector = detector_class("lab")
"""


@dataclass(frozen=True)
class Lab:
    """A folder with everything that somebody outside the project has."""

    folder: Path
    environment: dict[str, str]

    @property
    def store(self) -> Path:
        return self.folder / "runs"

    def command(self, *words: str | Path, status: int = 0, **environment: str) -> Command:
        given = self.environment | environment
        command = begin([str(word) for word in words], self.folder / "outputs", **given)
        assert command.wait() == status, command.describe()
        return command

    def run(self, *more: str, **environment: str) -> Command:
        words = ["-m", "study.run", "--grid", self.folder / "our_grid.py", "--store", self.store]
        words += ["--cohorts", self.folder / "cohorts.toml", "--precision", "float32"]
        return self.command(*words, *more, **environment)

    def report(self, form: str) -> str:
        return self.command("-m", "study.report", "--store", self.store, "--format", form).out


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The folder, with a finished study of the grid."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "outputs").mkdir()
    write_cohorts(folder, 3, 2)
    (folder / "our_grid.py").write_text(GRID)
    environment = install(folder, blurred=BLUR)
    environment = install_distribution(folder, environment, models={"lab": LAB})
    lab = Lab(folder, environment)
    lab.run()
    return lab


@pytest.fixture(scope="module")
def rows(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(lab.report("json"))["rows"]
    return found


def test_a_model_is_short() -> None:
    assert len(BLUR.strip().splitlines()) <= 60


def test_a_grid_file_gives_the_study_its_name(lab: Lab) -> None:
    record = open_study(lab.store, "our_grid").study()
    assert record is not None
    assert (record.grid, len(record.trials)) == ("our_grid", 6)


def test_a_models_own_setting_is_in_the_json(rows: list[dict[str, Any]]) -> None:
    found = {(r["setting"], tuple(r["settings"].items())) for r in rows if r["model"] == "blurred"}
    assert found == {("blur 1", (("blur", 1.0),)), ("blur 4", (("blur", 4.0),))}
    assert {r["setting"] for r in rows if r["model"] == "lab"} == {"sign bright"}
    assert {r["setting"] for r in rows if r["model"] == "vae"} == {"(2, 8)"}


def test_a_models_own_setting_is_in_every_table(lab: Lab, rows: list[dict[str, Any]]) -> None:
    (best,) = {
        r["setting"]
        for r in rows
        if r["model"] == "blurred" and r["region"] == "brain" and r["best"]
    }
    text = lab.report("text")
    assert "Blurred intensity" in text
    assert f" {best} " in text
    assert "blur of Blurred intensity" in " ".join(text.split())
    lines = list(csv.DictReader(io.StringIO(lab.report("csv"))))
    assert best in {line["setting"] for line in lines if line["model"] == "blurred"}
    latex = lab.report("latex")
    assert "Blurred intensity & blurred intensity" in latex
    assert best in latex


def test_an_installed_model_is_found_in_every_process(lab: Lab, rows: list[dict[str, Any]]) -> None:
    mine = {(r["score"], r["region"]): r["auc"] for r in rows if r["model"] == "lab"}
    plain = {(r["score"], r["region"]): r["auc"] for r in rows if r["model"] == "intensity"}
    # The one is counted by its scores, the other by intensity.
    assert mine["lab_score", "brain"] == pytest.approx(plain["intensity", "brain"], abs=1e-5)


def test_the_dry_run_counts_a_models_settings(lab: Lab) -> None:
    out = lab.run("--dry-run").out
    for line in ("networks: 1", "blurred: 2", "lab: 1", "gmm: 1", "baselines: 1"):
        assert line in out.splitlines()
    assert "already done: 6" in out


def test_the_contract_suite_is_passed_outside_the_project(lab: Lab) -> None:
    (lab.folder / "tests").mkdir()
    (lab.folder / "tests" / "test_models.py").write_text(CONTRACT)
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", lab.folder / "tests"]
    out = lab.command(*words, lab.folder / "tests").out
    assert " passed" in out
    assert "failed" not in out


def test_the_dashboard_reads_settings_of_a_model_that_is_not_installed_here(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_app = opener(monkeypatch)
    grid = open_app(lab.store, "grid", line="Blurred intensity")
    assert not grid.exception
    figure = json.loads(grid.get("plotly_chart")[0].proto.spec)
    assert figure["layout"]["xaxis"]["title"]["text"] == "blur (pixels)"
    assert figure["data"][0]["x"] == [1.0, 4.0]
    (name,) = (text for text in grid.selectbox(key="grid.line").options if "lab" in text)
    words = open_app(lab.store, "grid", line=name)
    assert not words.exception
    assert json.loads(words.get("plotly_chart")[0].proto.spec)["data"][0]["x"] == ["bright"]
    roc = open_app(lab.store, "roc")
    legend = [t["name"] for t in json.loads(roc.get("plotly_chart")[0].proto.spec)["data"]]
    assert any(name.startswith("Blurred intensity B blur ") for name in legend)
    index = load_index(open_study(lab.store, "our_grid"))
    wanted = {
        row["setting"]: row["trial_id"] for row in index.to_pylist() if row["model"] == "blurred"
    }
    trial = open_app(lab.store, "trial", trial=wanted["blur 4"])
    assert not trial.exception
    box = next(box for box in trial.selectbox if box.label == "Trial")
    assert box.options[box.index].startswith("Blurred intensity T1w blur 4")
    best = open_app(lab.store, "best")
    assert any("blur" in text for text in best.table[0].value["stroke T1w"])


def test_a_new_score_is_evaluated_on_the_fits_there_and_nothing_is_fitted(
    lab: Lab, rows: list[dict[str, Any]]
) -> None:
    fits, evals = "trials/*/manifest.json", "trials/*/eval/*/manifest.json"
    study = lab.store / "studies" / "our_grid"
    before = {path: path.read_bytes() for path in study.glob(fits)}
    evaluations = set(study.glob(evals))
    (lab.folder / "models" / "vae.py").write_text(_vae_with_another_score())
    out = lab.run(FIRST_MODELS=str(lab.folder / "models")).out
    assert "6 of 6 trials done, 0 failed" in " ".join(out.split())
    assert {path: path.read_bytes() for path in study.glob(fits)} == before
    assert len(set(study.glob(evals)) - evaluations) == 2  # the subjects held out count as a cohort
    now = json.loads(lab.report("json"))["rows"]
    assert {r["score"] for r in now if r["model"] == "vae"} == {
        *(r["score"] for r in rows if r["model"] == "vae"),
        "absolute_error",
    }
    assert len(now) == len(rows) + 2  # the new score in both regions, and no old figure twice
    old = {(r["model"], r["score"], r["region"], r["setting"]): r["auc"] for r in rows}
    for row in now:
        key = (row["model"], row["score"], row["region"], row["setting"])
        assert row["score"] == "absolute_error" or row["auc"] == old[key]
    assert "abs. error" in lab.report("text")
    after = stamps(lab.store)
    lab.run(FIRST_MODELS=str(lab.folder / "models"))
    assert stamps(lab.store) == after


def _vae_with_another_score() -> str:
    """The VAE's file as somebody edits it: a score described, and a score computed."""
    text = Path(vae.__file__).read_text()
    described = "    FIRST_SCORES: ClassVar"
    computed = "        return scores.of_likelihood(x_B1HW, mean, log_variance)\n"
    assert text.count(described) == text.count(computed) == 1
    text = text.replace(
        '        Score("normalized_error"',
        '        Score("absolute_error", "abs. error", "AbsE"),\n        Score("normalized_error"',
    )
    more = '{"absolute_error": (mean - x_B1HW).abs()}'
    return text.replace(computed, f"{computed.rstrip()} | {more}\n")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("gone.py", None, "there is no grid file"),
        ("empty.py", "", "has no GRID"),
        ("other.py", "GRID = 3", "has no GRID"),
        ("broken.py", "import nothing_of_that_name", "ModuleNotFoundError"),
        ("half.py", "GRID = (", "SyntaxError"),
        ("ending.py", "import sys; sys.exit(3)", "SystemExit"),
        ("deep.py", "GRID = " + "(" * 5000, "cannot be loaded"),
        ("nul.py", "GRID = 1\0", "cannot be loaded"),
        ("smoke.py", GRID, "has the name of another grid"),
    ],
)
def test_what_is_wrong_with_a_grid_file_is_one_sentence(
    name: str, text: str | None, said: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=said) as error:
        load_grid(str(tmp_path / name))
    assert "\n" not in str(error.value)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"blurred"', '"nothing"'), "unknown model 'nothing'"),
        (('"blur"', '"blurr"'), "settings of 'blurred': blur"),
    ],
)
def test_a_grid_of_what_is_not_there_ends_a_command_with_status_2(
    change: tuple[str, str], said: str, lab: Lab, tmp_path: Path
) -> None:
    (tmp_path / "wrong.py").write_text(GRID.replace(*change))
    words = ["-m", "study.run", "--grid", tmp_path / "wrong.py", "--store", tmp_path / "runs"]
    words += ["--cohorts", lab.folder / "cohorts.toml", "--dry-run"]
    command = lab.command(*words, status=2)
    assert said in command.err
    assert command.err.strip().count("\n") == 0


def test_scans_are_prepared_for_a_grid_file_too(lab: Lab, tmp_path: Path) -> None:
    words = ["-m", "study.prepare", "--store", tmp_path / "runs", "--grid"]
    assert "there is no grid file" in lab.command(*words, tmp_path / "gone.py", status=2).err
