"""The packages are ours, and every plug-in is what its folder promises."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from datasets import sources
from datasets.errors import SourceError
from datasets.plugins import load_plugin, plugin_names
from datasets.scan import MODALITIES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["datasets", "trainables", "study", "dashboard"])
def test_no_other_package_shadows_ours(name: str) -> None:
    found = Path(importlib.import_module(name).__file__ or "").parent
    assert found == ROOT / name, (
        f"'import {name}' finds {found}, not this project's {ROOT / name}: another package of that "
        f"name is installed or comes first on sys.path; remove it, then run 'make install'"
    )


@pytest.mark.parametrize("name", ["datasets", "trainables", "study"])
def test_packages_are_found_from_any_folder(name: str, tmp_path: Path) -> None:
    code = f"import {name}; print({name}.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).parent == ROOT / name


@pytest.mark.parametrize("name", plugin_names(sources))
class TestEverySource:
    """What a file in ``datasets/sources`` must provide."""

    def test_lists_scans(self, name: str) -> None:
        assert callable(load_plugin(sources, name, "source").list_scans)

    def test_names_a_folder_that_is_missing_or_of_no_such_layout(
        self, name: str, tmp_path: Path
    ) -> None:
        module = load_plugin(sources, name, "source")
        for folder in (tmp_path / "missing", tmp_path):
            with pytest.raises(SourceError, match=str(folder)) as caught:
                module.list_scans(folder, MODALITIES)
            assert "\n" not in str(caught.value)


def test_an_unknown_source_is_answered_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"unknown source 'oasis'; choose one of: .*ixi"):
        load_plugin(sources, "oasis", "source")


def test_reading_a_study_loads_neither_ray_nor_torch() -> None:
    modules = "study.report.command, study.store.command, study.plan.plan, study.run.command"
    _assert_loads_none(modules, {"ray", "torch", "optuna"})


def test_a_report_loads_nothing_that_only_reading_or_scoring_scans_needs() -> None:
    heavy = {"ray", "torch", "optuna", "nibabel", "scipy", "datasets.phantom", "streamlit"}
    _assert_loads_none("study.report.command", heavy | {"matplotlib"})


def _assert_loads_none(modules: str, others: set[str]) -> None:
    code = f"import {modules}, sys; print(sorted({others!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
