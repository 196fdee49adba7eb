"""The language of grids: what a file in ``study/grids`` says, and how it is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from datasets.files import RefusedFileError, is_text, read_regular
from datasets.plugins import load_plugin, plugin_names
from datasets.scan import MODALITIES, Modality, either
from study import grids
from study.errors import UsageError

MOST_BYTES = 1 << 20
"""A grid file has a few thousand bytes."""


@dataclass(frozen=True)
class GridTrial:
    """A point of a grid: a model and its settings, for every modality and seed.

    Attributes:
        model: File name of the detector.
        params: Its settings; the others keep their defaults.
        epochs: Passes over the training slices; ignored by detectors that do not train by epochs.
        scores: Scores of the detector's ``MORE_SCORES`` to compute besides those that it always
            gives.
    """

    model: str
    params: dict[str, Any] = field(default_factory=dict)
    epochs: int = 1
    scores: tuple[str, ...] = ()


@dataclass(frozen=True)
class GridSearch:
    """A search over one parameter, led by Optuna, for every modality, seed and test cohort.

    Attributes:
        model: File name of the detector.
        parameter: The searched parameter.
        score: The score whose brain-region AUC on the test cohort is maximised.
        points: The values of a grid search; empty for a continuous one.
        low: Lower end of a continuous search, on a log scale.
        high: Upper end.
        n_trials: Trials of a continuous search, for each test cohort; a grid search makes one a
            point, which serves all test cohorts.
        params: The other settings.
    """

    model: str
    parameter: str
    score: str
    points: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 0.0
    n_trials: int = 0
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """What a module in ``study/grids`` provides as ``GRID``.

    Attributes:
        trials: Points to run.
        searches: Searches to run.
        phantom_subjects: Size of the built-in cohorts when no data is configured, by name.
        modalities: Which of the data's modalities to train on, such as ``("FLAIR",)``; by default
            all that the cohorts name, and of the built-in ones the usual ones.
        n_seeds: Seeds of every point, from 0, if ``--seeds`` does not say how many.
    """

    trials: tuple[GridTrial, ...]
    searches: tuple[GridSearch, ...]
    phantom_subjects: dict[str, int]
    modalities: tuple[Modality, ...] | None = None
    n_seeds: int = 1

    def __post_init__(self) -> None:
        """Refuse modalities that there are not, and a study without a seed.

        Raises:
            ValueError: If it names one, or none at all, or fewer seeds than one.
        """
        if self.n_seeds < 1:
            raise ValueError(f"n_seeds={self.n_seeds}: a grid needs at least 1 seed")
        if self.modalities is None:
            return
        unknown = [m for m in self.modalities if m not in MODALITIES]
        if unknown or not self.modalities:
            raise ValueError(f"modalities {list(self.modalities)!r}: name some of {either()}")


def grid_names() -> tuple[str, ...]:
    """Names of all grids that need no file to be named, sorted."""
    return plugin_names(grids)


def grid_name(grid: str) -> str:
    """The name of a grid as records have it: of a file, its name without the ending."""
    return Path(grid).stem if grid.endswith(".py") else grid


def load_grid(grid: str) -> Grid:
    """The grid of that name, or of a file outside the package.

    Args:
        grid: A name of :func:`grid_names`, or the path of a file that ends in ``.py``.

    Raises:
        UsageError: If there is no such grid, if the file cannot be loaded or has no ``GRID``, or if
            it has the name of another grid.
    """
    if grid.endswith(".py"):
        return _load_file(Path(grid))
    try:
        module = load_plugin(grids, grid, "grid")
    except ValueError as error:
        raise UsageError(f"{error}; or name a file that ends in .py") from error
    return _grid_of(module, f"the grid {grid!r}")


def _load_file(path: Path) -> Grid:
    name = path.stem
    if not is_text(path):
        raise UsageError(
            f"the grid file {str(path)!r} has bytes that are no UTF-8 in its name, which no record "
            "can hold: rename it"
        )
    if name in grid_names():
        raise UsageError(f"the grid file {str(path)!r} has the name of another grid: rename it")
    try:
        source = read_regular(path, MOST_BYTES)
    except FileNotFoundError as error:
        raise UsageError(f"there is no grid file {str(path)!r}") from error
    except OSError as error:
        reason = error if isinstance(error, RefusedFileError) else error.strerror
        raise UsageError(f"the grid file {str(path)!r} cannot be read: {reason}") from error
    module = ModuleType(f"_grid_file_{name}")
    module.__file__ = str(path)
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"the grid file {str(path)!r} cannot be loaded: {reason}") from error
    return _grid_of(module, f"the grid file {str(path)!r}")


def _grid_of(module: ModuleType, what: str) -> Grid:
    found = getattr(module, "GRID", None)
    if not isinstance(found, Grid):
        raise UsageError(f"{what} has no GRID, an instance of study.grids._grid.Grid")
    return found
