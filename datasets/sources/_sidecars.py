"""What the texts beside a mask say of it: a JSON file with its type, a table of its labels.

Both may lie beside the mask under its name, or in a folder above with fewer entities, where they
hold for every file below (BIDS calls that inheritance).
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets.derived import is_predicted
from datasets.files import read_regular
from datasets.sources._bids_names import LESION, BidsFile, Kind, parse
from datasets.sources._files import Tree

_MOST_BYTES = 1 << 20
_KINDS: dict[str, Kind] = {"lesion": "lesion", "brain": "brain", "face": "unlike"}


class Sidecars:
    """The texts of a folder, found by the folder they lie in."""

    def __init__(self, tree: Tree) -> None:
        self._root = tree.root
        self._by_folder: dict[Path, list[Path]] = defaultdict(list)
        for path in sorted(tree.texts):
            self._by_folder[path.parent].append(path)

    def understood(self, file: BidsFile) -> BidsFile:
        """A mask with what the texts beside it say, if its name does not say of what it is.

        A mask of a lesion that this project has predicted is told from one that was drawn.
        """
        if file.kind == "lesion" and any(
            path.stem == file.entry.stem and is_predicted(_content(path))
            for path in self._by_folder.get(file.entry.folder, ())
            if path.suffix == ".json"
        ):
            return replace(file, kind="predicted")
        if file.kind != "mask":
            return file
        for path in self._of(file, ".json"):
            kind = _KINDS.get(_type_in(path).lower())
            if kind is not None:
                return replace(file, kind=kind)
        for path in self._of(file, ".tsv"):
            labels, has_any = _lesion_labels(path)
            if labels:
                return replace(file, kind="lesion", labels=labels)
            if has_any:
                return replace(file, kind="unlike")
        return file

    def _of(self, file: BidsFile, ending: str) -> Iterable[Path]:
        """The texts that hold for a file, the nearest first."""
        entities, words = parse(file.entry.stem)
        own = {*entities.items()}
        for folder in (file.entry.folder, *file.entry.folder.parents):
            found = []
            for path in self._by_folder.get(folder, ()):
                if path.suffix == ending:
                    theirs, their_words = parse(path.stem)
                    same_end = bool(words) and their_words[-1:] == words[-1:]
                    if same_end and own.issuperset(theirs.items()):
                        found.append((-len(theirs), path))
            yield from (path for _, path in sorted(found))
            if folder == self._root:
                return


def _content(path: Path) -> Any:
    """What a JSON file holds; None if it cannot be read."""
    try:
        return json.loads(read_regular(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None


def _type_in(path: Path) -> str:
    content = _content(path)
    found = content.get("Type") if isinstance(content, dict) else None
    return found if isinstance(found, str) else ""


def _lesion_labels(path: Path) -> tuple[tuple[int, ...], bool]:
    """The labels that a table calls a lesion, and whether it has any label at all."""
    try:
        text = read_regular(path, _MOST_BYTES).decode("utf-8-sig")
        rows = [*csv.DictReader(text.splitlines(), delimiter="\t")]
    except (OSError, ValueError, csv.Error):
        return (), False
    labels = []
    for row in rows:
        number, name = (row.get("index") or "").strip(), str(row.get("name") or "").lower()
        plain = name.replace(" ", "").replace("-", "").replace("_", "")
        match = LESION.search(plain)
        is_lesion = match is not None and not (match["before"] or match["after"])
        if is_lesion and number.isdecimal() and len(number) < 10:
            labels.append(int(number))
    return tuple(sorted({*labels} - {0})), any((row.get("index") or "").strip() for row in rows)
