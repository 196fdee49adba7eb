"""Kinds of kills, and what must hold after each: nothing lost, nothing repeated, nothing left."""

from __future__ import annotations

import os
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from study.records.types import Checkpoint
from tests.commands import Command, begin, wait_until
from tests.faults.strike import Moment, Striker, title
from tests.grids import SMOKE_WORDS
from tests.heads import write_head
from tests.stores import history, open_study, shard_content, stamps, study_content, unnamed

STUDY = "smoke"

_TRIAL = r"studies/smoke/trials/\w+"
_EVAL = rf"{_TRIAL}/eval/\w+"
_SCAN = r"shards/scans/\w+"


def _moment(pattern: str, unfinished: str = "manifest.json", *, busy: bool = False) -> Moment:
    return Moment(re.compile(pattern), unfinished, busy)


MOMENTS: dict[str, tuple[Moment, ...]] = {
    "preparation": (_moment(rf"({_SCAN})/\.slices-.*\.tmp", "record.json"),),
    "training": (_moment(rf"({_TRIAL})/checkpoint\.json", busy=True),),
    "evaluation": (_moment(rf"({_TRIAL})/manifest\.json", "eval/*/manifest.json", busy=True),),
    "writing a record": (
        _moment(rf"({_TRIAL})/attempts/\w+/\.model\.safetensors\..*"),
        _moment(rf"({_EVAL})/attempts/\w+/\.subjects\.parquet\..*"),
        _moment(rf"({_TRIAL})/attempts/\w+/\.state-\d\.safetensors\..*"),
    ),
    "parts, no manifest": (
        _moment(rf"({_TRIAL})/\.manifest\.json\..*"),
        _moment(rf"({_EVAL})/\.manifest\.json\..*"),
        _moment(rf"({_SCAN})/\.record\.json\..*", "record.json"),
        _moment(rf"({_TRIAL})/\.checkpoint\.json\..*"),
    ),
    "index compaction": (_moment(r"(studies/smoke)/\.index\.parquet\..*", "index.parquet"),),
}

_TRIES = 5
"""How often a study is run until a moment of some milliseconds is met."""

TARGETS = ("driver", "worker", "raylet", "process group")

KINDS = tuple(
    (target, moment)
    for target in TARGETS
    for moment in MOMENTS
    if (target, moment) != ("worker", "index compaction")  # no worker writes it
)


@dataclass(frozen=True)
class Outcome:
    """What came of a kill.

    Attributes:
        target: What was killed.
        moment: When.
        hit: What it hit: the process, the file that had appeared, the record that was not there.
        problems: What is wrong afterwards; empty if all is as it should be.
        n_finished: Records that were finished when it hit.
        n_written_again: How many of them were written again afterwards.
        n_epochs_repeated: Epochs with a checkpoint that were trained again; the one that a kill
            cuts off is not among them.
    """

    target: str
    moment: str
    hit: str
    problems: tuple[str, ...]
    n_finished: int = 0
    n_written_again: int = 0
    n_epochs_repeated: int = 0


class Arena:
    """Cohorts, an undisturbed study of them, and any number of disturbed ones.

    Args:
        folder: Where all lies; a folder of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.cohorts = _write_cohorts(folder / "scans")
        self.undisturbed = folder / "undisturbed"
        command = self.start(self.undisturbed)
        if command.wait() != 0:
            raise RuntimeError(f"the undisturbed study failed\n{command.describe()}")
        self._study = study_content(open_study(self.undisturbed, STUDY))
        self._shards = shard_content(self.undisturbed)

    def start(self, store: Path, *more: str) -> Command:
        """Start the study on a store."""
        words = ["-m", "study.run", *SMOKE_WORDS, "--cohorts", str(self.cohorts)]
        return begin([*words, "--store", str(store), *more], self._folder)

    def prepared(self, name: str) -> Path:
        """A new store that has the shards and no study."""
        store = self._folder / name
        shutil.copytree(self.undisturbed / "shards", store / "shards")
        return store

    def kill(self, target: str, moment: str, nth: int) -> Outcome:
        """Kill a study, run the same command again, and compare.

        Args:
            target: One of :data:`TARGETS`.
            moment: One of :data:`MOMENTS`.
            nth: Chooses among the moment's variants, and how many of its files are let pass.
        """
        met = self._meet(target, moment, nth)
        if met is None:
            return Outcome(target, moment, "", ("the moment was missed again and again",))
        store, first, striker, (file, unfinished, writer) = met
        finished = stamps(store) | stamps(store, "record.json")
        epochs = _epochs(store)
        hit = self._strike(first, striker, target, writer)
        problems = [] if hit else [f"{target} was no live process"]
        problems += self._end(first, target, may_be_done=moment == "index compaction")
        second = self.start(store)
        status = second.wait()
        for which, command in (("killed", first), ("next", second)):
            left = [f"{pid} {title(pid)}" for pid in command.left_over()]
            problems += [f"the {which} command has left {name}" for name in left]
        if status != 0:
            problems.append(f"the same command ended with {status}\n{second.describe()}")
            return Outcome(target, moment, hit, tuple(problems))
        now = stamps(store) | stamps(store, "record.json")
        again = [path for path in finished if now.get(path) != finished[path]]
        problems += [f"{path} was finished, and is written again" for path in again]
        problems += self._compare(store)
        problems += [f"nothing names {path}" for path in unnamed(store)]
        repeated = _repeated(store, epochs)
        if repeated:
            problems.append(f"{repeated} epochs were repeated that had a checkpoint")
        if not problems:
            shutil.rmtree(store)
        hit = f"{hit} at {file}, before {unfinished}"
        return Outcome(target, moment, hit, tuple(problems), len(finished), len(again), repeated)

    def _meet(
        self, target: str, moment: str, nth: int
    ) -> tuple[Path, Command, Striker, tuple[str, str, int]] | None:
        """Run studies until one is stopped at the moment; its store, command and processes."""
        variants = MOMENTS[moment]
        variant = variants[nth % len(variants)]
        # The index is written once, before the report, and only if it is new.
        skip = 0 if moment == "index compaction" else nth // len(variants)
        for tries in range(_TRIES):
            name = f"{target}-{moment}-{nth}-{tries}".replace(" ", "-").replace(",", "")
            of_scans = variant.unfinished == "record.json"
            store = self._folder / name if of_scans else self.prepared(name)
            command = self.start(store)
            striker = Striker(command, store)
            seen = striker.wait(variant, skip)
            if seen is not None:
                return store, command, striker, seen
            striker.resume()
            command.wait()  # all such moments had passed when they were looked at
        return None

    def _strike(self, command: Command, striker: Striker, target: str, writer: int) -> str:
        """Kill one process or all; returns what was hit, or nothing."""
        driver = command.process.pid
        pids = {"driver": driver, "worker": writer, "process group": driver}
        pid = striker.raylet() if target == "raylet" else pids[target]
        name = title(pid)
        if target == "process group":
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)
        striker.resume()
        return f"{pid} {name.split(' ')[0].rpartition('/')[2]}" if name else ""

    def _end(self, command: Command, target: str, *, may_be_done: bool) -> list[str]:
        """Wait for the end of what was struck; a worker's death does not end a study.

        Nor does Ray's, where nothing was left for it to do.
        """
        if not wait_until(lambda: command.status is not None, 120.0):
            command.kill_group()
            return [f"the driver hung after the kill\n{command.describe()}"]
        if target == "worker" and command.status != 0:
            return [f"the study did not outlive its worker\n{command.describe()}"]
        outlives = target == "worker" or (target == "raylet" and may_be_done)
        if not outlives and command.status == 0:
            return ["the driver ended as if nothing had happened"]
        if "Traceback" in command.err:
            return [f"the driver ended with a traceback\n{command.describe()}"]
        return []

    def _compare(self, store: Path) -> list[str]:
        problems = []
        if shard_content(store) != self._shards:
            problems.append("the shards differ from the undisturbed ones")
        ours = study_content(open_study(store, STUDY))
        if ours.keys() != self._study.keys():
            problems.append(f"the trials differ: {sorted(ours.keys() ^ self._study.keys())}")
        for trial_id, content in ours.items():
            undisturbed = self._study.get(trial_id, {})
            names = sorted(content.keys() | undisturbed.keys())
            differing = [n for n in names if content.get(n) != undisturbed.get(n)]
            if differing:
                problems.append(f"trial {trial_id} differs in {differing}")
        return problems


def _write_cohorts(folder: Path) -> Path:
    """Four healthy heads and two with lesions, stripped, T1w."""
    for i in range(4):
        write_head(folder / "healthy", f"h{i:03d}")
    for i in range(2):
        write_head(folder / "stroke", f"s{i:03d}", lesion=True)
    path = folder / "cohorts.toml"
    text = '[cohorts.{0}]\nsource = "bids"\nroot = "{0}"\nrole = "{1}"\nmodalities = ["T1w"]\n'
    path.write_text(text.format("healthy", "train") + text.format("stroke", "test"))
    return path


def _epochs(store: Path) -> dict[str, int]:
    """Epochs that unfinished fits have a checkpoint of, by trial."""
    found = {}
    for path in store.glob(f"studies/{STUDY}/trials/*/checkpoint.json"):
        if not path.with_name("manifest.json").exists():
            found[path.parent.name] = Checkpoint.model_validate_json(path.read_bytes()).epoch
    return found


def _repeated(store: Path, epochs: dict[str, int]) -> int:
    """Epochs with a checkpoint at the kill that a later attempt has trained again."""
    study = open_study(store, STUDY)
    rows = ((row, done) for name, done in epochs.items() for row in history(study.trial(name)))
    return sum(row["attempt"] > 1 and row["epoch"] <= done for row, done in rows)
