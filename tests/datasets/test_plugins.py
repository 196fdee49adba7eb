"""Plug-ins are files of a folder and entry points of what is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datasets import plugins, sources
from datasets.plugins import load_plugin, plugin_names

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution as pip does, with entry points for sources."""

    def put(name: str, **points: str) -> None:
        site = tmp_path / name
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = ["[anomaly_study.sources]", *(f"{k} = {v}" for k, v in points.items())]
        (info / "entry_points.txt").write_text("\n".join([*lines, ""]))
        (site / f"{name}_code.py").write_text("WHO = __name__\n")
        monkeypatch.syspath_prepend(site)
        plugins.forget_installed()

    yield put
    plugins.forget_installed()


def test_an_installed_plugin_is_listed_and_loaded(install: Install) -> None:
    before = plugin_names(sources)
    install("oasis", oasis="oasis_code")
    assert plugin_names(sources) == tuple(sorted((*before, "oasis")))
    assert load_plugin(sources, "oasis", "source").WHO == "oasis_code"


def test_two_plugins_of_one_name_are_refused(install: Install) -> None:
    install("mine", ixi="mine_code")
    with pytest.raises(ValueError, match=r"several plug-ins .*'ixi'.*datasets\.sources\.ixi.*mine"):
        load_plugin(sources, "ixi", "source")


def test_an_entry_point_that_is_no_module_is_refused(install: Install) -> None:
    install("odd", odd="odd_code:WHO")
    with pytest.raises(ValueError, match="'odd' is no module"):
        load_plugin(sources, "odd", "source")
