"""The store that is damaged: two small real studies, and all kinds of files that a store may have.

It is made in a process that ends, so that its drivers are gone when something is damaged. Study
``a`` is finished: networks that were trained for two epochs and then for a third, a search, the
baseline, a trial that fails. Study ``b`` was cut off: networks that have a checkpoint, a mixture
that is fitted, and of which one evaluation has failed. Of their scans one is set aside for good,
and one was set aside by a fault of the machine and came through when it was tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from study.errors import EXIT_SOME_FAILED
from tests.faults.damage.cut_off import leave_cut_off
from tests.faults.damage.worker import run_command
from tests.heads import write_head

STUDIES = ("a", "b")

_NETWORK = '{"n_c": 2, "n_z": 8, "batch_size": 16'

_GRID = """
from study.grids._grid import Grid, GridSearch, GridTrial

GRID = Grid(trials=({trials}), searches=({searches}), phantom_subjects={{}})
"""

_NETWORKS = f'GridTrial("ae", {_NETWORK}}}, epochs=2), GridTrial("vae", {_NETWORK}}}, epochs=2), '
_BASELINE = 'GridTrial("intensity"), '
_FAILING = f'GridTrial("ae", {_NETWORK}, "learning_rate": 1e30}}, epochs=2), '
_OTHER_MIXTURE = 'GridTrial("gmm", {"gmm_lambda": 0.01}), '
"""A trial that study ``a`` has not: what is whole in both would be right in either."""

_CUT_OFF = "".join(
    f'GridTrial("{model}", {{"n_c": 2, "n_z": 16, "batch_size": 16}}, epochs=2), '
    for model in ("ae", "vae")
)
_SEARCH = 'GridSearch("gmm", "gmm_lambda", "outlier_sum", points=(0.1, 0.001)),'

_GRIDS = {
    "begin_a": (_BASELINE + _NETWORKS, _SEARCH),
    "a": (_BASELINE + _NETWORKS + _FAILING, _SEARCH),
    "b": (_OTHER_MIXTURE + _CUT_OFF, ""),
}

_COHORTS = """
[cohorts.healthy]
source = "bids"
root = "healthy"
role = "train"
[cohorts.stroke]
source = "bids"
root = "stroke"
role = "test"
[cohorts.tumour]
source = "bids"
root = "tumour"
role = "test"
"""

_EPOCHS = {"begin_a": "2", "a": "3", "b": "2"}


@dataclass(frozen=True)
class Original:
    """Where the undamaged store and its scans lie.

    Attributes:
        folder: Of all; ``store`` below it is the store.
    """

    folder: Path

    @property
    def store(self) -> Path:
        """The store."""
        return self.folder / "store"

    @property
    def is_complete(self) -> bool:
        """Whether it has been made."""
        return (self.folder / "complete").exists()

    def run_words(self, grid: str, store: Path, address: str) -> list[str]:
        """The words after ``study.run`` that run one of its studies."""
        return [
            *("--grid", str(self.folder / f"{grid}.py"), "--study", grid.removeprefix("begin_")),
            *("--cache", str(self.folder / "cache")),  # its own: so that something is copied
            *("--cohorts", str(self.cohorts), "--store", str(store), "--address", address),
            *("--precision", "float32", "--epochs", _EPOCHS[grid]),
        ]

    @property
    def cohorts(self) -> Path:
        """The cohorts file."""
        return self.folder / "scans/cohorts.toml"


def make(folder: str, address: str) -> None:
    """Make the store, in a process that ends soon after.

    Args:
        folder: Where to.
        address: Of a Ray cluster that this process is connected to.
    """
    original = Original(Path(folder))
    original.folder.mkdir(parents=True, exist_ok=True)
    for name, (trials, searches) in _GRIDS.items():
        text = _GRID.format(trials=trials, searches=searches)
        (original.folder / f"{name}.py").write_text(text)
    _write_scans(original)
    _prepare(original, address)
    for grid in ("begin_a", "a"):  # a trial of the latter fails
        words = original.run_words(grid, original.store, address)
        _expect(EXIT_SOME_FAILED, run_command("study.run", *words))
    leave_cut_off(
        str(original.store), str(original.folder / "b.py"), original.cohorts, "b", like="a"
    )
    (original.folder / "complete").touch()


def _write_scans(original: Original) -> None:
    scans = original.folder / "scans"
    for i in range(3):
        write_head(scans / "healthy", f"h{i:03d}")
    for i in range(2):
        write_head(scans / "stroke", f"s{i:03d}", lesion=True)
    write_head(scans / "tumour", "t000", lesion=True)
    write_head(scans / "tumour", "t001")  # has no mask, and is set aside
    original.cohorts.write_text(_COHORTS)


def _prepare(original: Original, address: str) -> None:
    """Prepare the scans: of one the machine fails at first, and not when it is tried again.

    One has no mask, and stays set aside.
    """
    from study.prepare import scans

    words = ["--cohorts", str(original.cohorts), "--store", str(original.store)]
    words += ["--address", address]
    process = scans._process
    scans._process = _failing_for("s001", process)
    try:
        _expect(EXIT_SOME_FAILED, run_command("study.prepare", *words))
    finally:
        scans._process = process
    _expect(EXIT_SOME_FAILED, run_command("study.prepare", *words, "--retry-set-aside"))


def _failing_for(subject: str, process: Callable[..., None]) -> Callable[..., None]:
    """What prepares a scan, with a fault of the machine for one subject."""

    def run(task: object, *others: object) -> None:
        if task.scan.subject == subject:  # type: ignore[attr-defined]
            raise OSError(5, "Input/output error")
        process(task, *others)

    return run


def _expect(status: int, ended: dict[str, object]) -> None:
    if ended["status"] != status or ended["fault"]:
        raise RuntimeError(f"expected {status}: {ended}")
