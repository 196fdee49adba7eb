"""The examples of ``docs/extend.md``, taken from the page and run as printed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.synthetic_store import Wanted, write_store
from dashboard import navigation
from datasets import sources
from datasets.errors import SourceError
from datasets.plugins import entry_group, load_plugin
from datasets.scan import MODALITIES
from study import grids
from study.grids._grid import load_grid
from study.plan.plan import build_plan
from study.prepare.cohorts import read_cohorts
from study.records.types import CohortInfo
from tests.commands import ROOT
from tests.markdown import sections
from tests.volumes import save, values
from trainables import models, testing
from trainables.registry import describe, detector_class

PAGE = (ROOT / "docs/extend.md").read_text(encoding="utf-8")
BLOCKS = [block for section in sections(PAGE) for block in section.blocks]


def _file(text: str, language: str) -> str:
    """The file that an example's first line names."""
    first = text.split("\n", 1)[0]
    return first.removeprefix("--- a/") if language == "diff" else first.removeprefix("# ")


EXAMPLES = {_file(block.text, block.language): block.text for block in BLOCKS}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with every example of a file of its own, found as if it lay in the project."""
    for block in BLOCKS:
        if block.language != "diff":
            path = tmp_path / _file(block.text, block.language)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    for package, folder in ((models, "trainables/models"), (sources, "datasets/sources")):
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / folder)])
    yield tmp_path
    for cached in (detector_class, describe):
        cached.cache_clear()
    for name in ("trainables.models.robust", "datasets.sources.flat"):
        sys.modules.pop(name, None)


def patched(name: str, folder: Path) -> Path:
    """A copy of one of the project's files with the page's change."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / name, path)
    subprocess.run(["git", "apply"], cwd=folder, input=EXAMPLES[name], text=True, check=True)
    return path


def loaded(path: Path) -> ModuleType:
    """A file as a module that nobody else sees."""
    spec = spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_is_short(name: str) -> None:
    assert len(EXAMPLES[name].splitlines()) < 40


@pytest.mark.parametrize("name", [n for n in EXAMPLES if n.endswith(".py")])
def test_each_new_file_is_none_of_the_projects_own(name: str) -> None:
    is_change = EXAMPLES[name].startswith("---")
    assert (ROOT / name).exists() == is_change


def test_every_kind_of_plug_in_has_an_example() -> None:
    titles = [section.title for section in sections(PAGE) if section.blocks]
    assert titles == [
        *("A model", "A score", "A source", "A grid", "A dashboard page", "Without a fork"),
    ]


def test_the_model_passes_its_contract(written: Path) -> None:
    info = describe("robust")
    assert (info.label, [s.name for s in info.axes]) == ("Robust AE", ["n_c", "n_z", "delta"])
    assert pytest.main(["-q", "-p", "no:cacheprovider", str(written / "test_robust.py")]) == 0


def test_the_score_is_one_of_the_vae_and_its_fits_stay(tmp_path: Path) -> None:
    model, plain = (
        loaded(patched("trainables/models/vae.py", tmp_path)).Model,
        detector_class("vae"),
    )
    slices = testing.healthy_slices(2).batch(slice(0, 2))
    detector = model(model.smallest(), seed=0)
    maps = detector.score(slices.images_BHW, slices.brain_BHW)
    assert tuple(maps) == tuple(score.name for score in model.SCORES)
    assert {s.name for s in model.SCORES} - {s.name for s in plain.SCORES} == {"absolute_error"}
    np.testing.assert_allclose(maps["absolute_error"] ** 2, maps["squared_error"], rtol=1e-4)
    assert (model.VERSION, model.FIRST_SCORES) == (plain.VERSION, plain.FIRST_SCORES)


def test_the_source_lists_scans_and_their_masks(written: Path) -> None:
    folder = written / "clinic"
    folder.mkdir()
    for name in ("p02_T1w", "p01_T1w", "p01_T1w_lesion", "p01_T2w", "readme"):
        save(folder / f"{name}.nii.gz", values())
    (cohort,) = read_cohorts(written / "cohorts.toml")
    assert (cohort.source, cohort.root, cohort.role) == ("flat", folder, "test")
    listing = load_plugin(sources, cohort.source, "source").list_scans(cohort.root, ("T1w",))
    found = [(s.subject, s.modality, [p.name for p in s.lesion_masks]) for s in listing.scans]
    assert found == [("p01", "T1w", ["p01_T1w_lesion.nii.gz"]), ("p02", "T1w", [])]
    with pytest.raises(SourceError, match="holds no scan"):
        load_plugin(sources, "flat", "source").list_scans(written / "trainables", MODALITIES)


def test_the_grid_is_planned(written: Path) -> None:
    cohorts = [
        CohortInfo(
            name=name, role=role, modality="T1w", source="flat", key=name, synthetic=False,
            n_scans=2, n_subjects=2, n_slices=8, n_quarantined=0,
        )
        for name, role in (("controls", "train"), ("clinic", "test"))
    ]  # fmt: skip
    grid = load_grid(str(written / "our_grid.py"))
    plan = build_plan(grid, cohorts, seeds=(0,), epochs=None)
    found = [(t.spec.model, t.spec.params.get("delta"), t.spec.epochs) for t in plan.trials]
    assert sorted(found, key=str) == [("ae", None, 15), ("robust", 0.1, 15), ("robust", 0.5, 15)]
    assert [search.n_trials for search in plan.searches] == [8]


def test_the_dashboard_page_is_in_the_navigation_and_is_drawn(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = EXAMPLES["dashboard/views/durations.py"]
    shutil.copytree(ROOT / "dashboard", tmp_path / "dashboard", dirs_exist_ok=True)
    assert (tmp_path / "dashboard/views/durations.py").read_text(encoding="utf-8") == new
    monkeypatch.setattr(
        navigation, "PAGES", loaded(patched("dashboard/navigation.py", tmp_path)).PAGES
    )
    write_store(tmp_path / "runs", "made-up", Wanted(trials=8))
    monkeypatch.setattr(sys, "argv", ["app.py", "--store", str(tmp_path / "runs")])
    monkeypatch.setattr(navigation, "FIRST", "durations")
    app = AppTest.from_file(tmp_path / "dashboard/main.py", default_timeout=60).run()
    assert not app.exception
    assert app.title[0].value == "Durations"
    assert "AE" in list(app.dataframe[0].value["Model"])


def test_entry_points_have_the_groups_that_are_looked_at() -> None:
    points = tomllib.loads(EXAMPLES["pyproject.toml"])["project"]["entry-points"]
    assert set(points) == {entry_group(package) for package in (models, sources, grids)}
