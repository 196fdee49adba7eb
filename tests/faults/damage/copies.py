"""Copies of the original store, made in a moment, and what the commands that read say of them."""

from __future__ import annotations

from pathlib import Path

from tests.faults.damage.original import STUDIES, Original, make
from tests.faults.damage.outcome import Told
from tests.faults.damage.places import find_places, named_by
from tests.faults.damage.scene import remove
from tests.faults.damage.state import Mark, State, differences, digests, link_tree, look
from tests.faults.damage.worker import Ended, Worker

_MAKE_LIMIT_S = 600.0

OUTSIDE = "the user's folder"


class Copies:
    """The original store, and one copy of it at a time beside a folder of the user's.

    Args:
        folder: Where all lies; what is there of the store from another campaign is used again.
        address: Of a Ray cluster.
        limit_s: How long a command that only reads may take before it counts as hanging.
    """

    def __init__(self, folder: Path, address: str, limit_s: float) -> None:
        self.folder = folder.absolute()
        self.address = address
        self.limit_s = limit_s
        self.store, self.outside = self.folder / "copy", self.folder / "outside"
        self.reader = Worker(self.folder / "reader.log")
        self.original = Original(self.folder / "original")
        if not self.original.is_complete:
            self._make()
        self.places = find_places(self.original.store)
        self.named = named_by(self.original.store, self.places)
        self._state = look(self.original.store)
        self.digests = digests(self.original.store, self._state)
        self.told = self._look_undisturbed()

    def close(self) -> None:
        """End the process that reads."""
        self.reader.close()

    def renew(self) -> dict[str, Mark]:
        """Put a fresh copy of the store and of the user's folder in place; what lies in it."""
        for path in (self.store, self.outside):
            if path.is_symlink() or path.exists():
                remove(path)
        link_tree(self.original.store, self.store, self._state)
        _write_outside(self.outside)
        return dict(self._state)

    def intact(self) -> list[str]:
        """What has become of the original store; nothing may have."""
        state = look(self.original.store)
        now = digests(self.original.store, state)
        others = [f"{p} has other bytes" for p in now if now[p] != self.digests.get(p)]
        return differences(self._state, state) + others

    def report(self, study: str, store: Path | None = None) -> Ended:
        """What ``study.report`` says of a study of the copy, or of another store."""
        words = ("--store", str(store or self.store), "--study", study, "--format", "json")
        return self.reader.run(self.limit_s, "study.report", *words)

    def check(self) -> Ended:
        """What ``study.store check`` says of the copy."""
        return self.reader.run(self.limit_s, "study.store", "check", str(self.store))

    def collect(self) -> Ended:
        """What ``study.store gc`` does to the copy."""
        return self.reader.run(self.limit_s, "study.store", "gc", str(self.store))

    def repair(self) -> Ended:
        """What ``study.store repair`` does to the copy."""
        return self.reader.run(self.limit_s, "study.store", "repair", str(self.store))

    def around(self) -> dict[str, State]:
        """What lies in the copy of the store and in the user's folder."""
        return {"the store": look(self.store), OUTSIDE: look(self.outside)}

    def _make(self) -> None:
        maker = Worker(self.folder / "maker.log", self.address)
        folder = str(self.original.folder)
        try:
            maker.call(_MAKE_LIMIT_S, f"{make.__module__}:make", folder, self.address)
        finally:
            maker.close()

    def _look_undisturbed(self) -> dict[str, Told]:
        self.renew()
        told = {name: Told.of(self.report(name)) for name in STUDIES}
        checked = self.check()
        if checked.status != 0 or not all(
            t.status == 0 and t.figures["rows"] for t in told.values()
        ):
            raise RuntimeError(f"the store is not right before it is damaged: {checked}, {told}")
        return told


def _write_outside(folder: Path) -> None:
    """A folder of the user's, with files that have names like ours."""
    for name in ("thesis.txt", f"{7:032x}/state.safetensors", f"slices-{7:020x}.parquet"):
        path = folder / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("years of work")
    (folder / "notes.txt").write_text("notes")
