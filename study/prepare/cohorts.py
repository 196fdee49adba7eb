"""``cohorts.toml``: which scans a study uses, validated before anything is read."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from datasets import sources
from datasets.files import RefusedFileError, is_text, read_regular
from datasets.participants import condition
from datasets.phantom.settings import PHANTOM_VERSION, PhantomOptions
from datasets.plugins import load_plugin, plugin_names
from datasets.reviews import ReviewsError, read_reviews
from datasets.scan import MODALITIES, ONLY_IF_ASKED, USUAL_MODALITIES, Modality, Role
from datasets.storage import Storage
from study.errors import CohortsError
from study.grids._grid import Grid

MOST_BYTES = 1 << 20
"""A cohorts file has some hundred bytes a cohort."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


class Cohort(BaseModel):
    """One table ``[cohorts.NAME]``.

    Attributes:
        name: The table's name.
        source: Layout of the data set: a file name in ``datasets/sources``.
        root: Folder of the data set; in the file, relative to the file.
        role: ``train`` (healthy), ``test`` (with lesion masks), or ``healthy`` (without lesions,
            never trained on, for false alarms).
        modalities: Which images to use; without FLAIR unless it is named.
        masks: Folder of lesion masks that lie apart from the images; likewise relative to the file.
        subjects: Labels of the only subjects to take; ``None`` for all.
        exclude: Labels of subjects not to take. In the file it may also be the name of a file of
            reviews, likewise relative to it.
        reviewed: Labels of the subjects that a file of reviews marks to be left out.
        reviews: That file, if there is one.
        participants: Condition on the columns of ``participants.tsv`` that subjects must fulfil.
        options: For the phantom only: what to make there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    root: Path
    role: Role
    modalities: tuple[Modality, ...] = Field(default=USUAL_MODALITIES, min_length=1)
    masks: Path | None = None
    subjects: tuple[str, ...] | None = Field(default=None, min_length=1)
    exclude: tuple[str, ...] = ()
    reviewed: tuple[str, ...] = ()
    reviews: Path | None = None
    participants: str = ""
    options: PhantomOptions | None = None

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("a cohort's name has letters, digits, '_' and '-', at most 32")
        return value

    @field_validator("root", "masks", mode="before")
    @classmethod
    def _check_root(cls, value: object) -> object:
        if value == "":
            raise ValueError("it is empty; name a folder, or '.' for that of the file")
        if isinstance(value, str) and "://" in value:
            raise ValueError("it is a URI, and scans are read from a folder of each machine")
        if isinstance(value, str) and not _is_name(value):
            raise ValueError(f"no folder is called {value!r}")
        return value

    @field_validator("source")
    @classmethod
    def _check_source(cls, value: str) -> str:
        names = plugin_names(sources)
        if value not in names:
            raise ValueError(f"unknown source {value!r}; choose one of: {', '.join(names)}")
        return value

    @field_validator("participants")
    @classmethod
    def _check_participants(cls, value: str) -> str:
        if value:
            condition(value)
        return value

    @field_validator("modalities")
    @classmethod
    def _sort_modalities(cls, value: tuple[Modality, ...]) -> tuple[Modality, ...]:
        return tuple(m for m in MODALITIES if m in value)

    @property
    def synthetic(self) -> bool:
        """Whether the scans are made by the phantom."""
        return self.source == "phantom"

    def stored_below(self, store: Storage) -> str:
        """Where the scans lie in a store; empty if they lie in a folder, as all real ones do."""
        if self.options is None or store.is_local:
            return ""
        return f"phantom/{self.root.name}"

    @property
    def module(self) -> Any:
        """The source's module, with ``list_scans``."""
        return load_plugin(sources, self.source, "source")


def read_cohorts(path: Path) -> tuple[Cohort, ...]:
    """Read and validate a cohorts file; the result is sorted by name.

    Raises:
        CohortsError: If it is missing, is no TOML, or says something that cannot be meant.
    """
    document = _parse(path)
    tables = document.get("cohorts")
    if not isinstance(tables, dict) or not tables:
        raise CohortsError(f"{path} has no table [cohorts.NAME]; name at least two cohorts")
    unknown = sorted(set(document) - {"cohorts"})
    if unknown:
        raise CohortsError(f"{path} has an unknown entry {unknown[0]!r}; only [cohorts.NAME]")
    return tuple(_cohort(name, table, path) for name, table in sorted(tables.items()))


def _parse(path: Path) -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        CohortsError: If it cannot be read or is none.
    """
    try:
        return tomllib.loads(read_regular(path, MOST_BYTES).decode("utf-8-sig"))
    except OSError as error:
        reason = error if isinstance(error, RefusedFileError) else error.strerror
        raise CohortsError(f"cannot read the cohorts file {path}: {reason}") from error
    except UnicodeDecodeError as error:
        raise CohortsError(
            f"cannot read the cohorts file {path}: it is no text in UTF-8: {error}"
        ) from error
    except RecursionError as error:
        raise CohortsError(f"{path} is no cohorts file: its brackets are too deep") from error
    except ValueError as error:  # no TOML, or an integer of thousands of digits
        raise CohortsError(f"{path} is no valid TOML: {error}") from error


def phantom_cohorts(
    folder: Path, subjects: Mapping[str, int], modalities: tuple[Modality, ...] = USUAL_MODALITIES
) -> tuple[Cohort, ...]:
    """The built-in cohorts: phantoms in the layouts and roles of the paper's three data sets.

    Args:
        folder: Where to write them; one folder per cohort and options.
        subjects: How many subjects each of ``ixi``, ``atlas`` and ``brats`` has.
        modalities: Which images to use; a cohort that has none of them is left out.
    """
    cohorts = [
        _phantom(folder, name, index, count, modalities)
        for index, (name, count) in enumerate(sorted(subjects.items()))
    ]
    return tuple(cohort for cohort in cohorts if cohort is not None)


def grid_phantoms(store: Storage, grid: Grid) -> tuple[Cohort, ...]:
    """The built-in cohorts of a grid, where a store's phantoms lie."""
    modalities = grid.modalities or USUAL_MODALITIES
    return phantom_cohorts(phantom_folder(store), grid.phantom_subjects, modalities)


def _is_name(text: str) -> bool:
    """Whether a file system could have such a name: no NUL, and no half of a character."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _phantom(
    folder: Path, name: str, seed: int, subjects: int, modalities: tuple[Modality, ...]
) -> Cohort | None:
    more = [m for m in modalities if m in ONLY_IF_ASKED]
    options = PhantomOptions.model_validate(
        {"layout": name, "subjects": subjects, "seed": seed, "more_modalities": more}
    )
    used = tuple(m for m in options.modalities if m in modalities)
    if not used:
        return None
    # A later version's phantom lies beside an older one's, which other stores may still use.
    content = {"version": PHANTOM_VERSION, **options.content()}
    text = json.dumps(content, sort_keys=True)
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return Cohort(
        name=name,
        source="phantom",
        root=folder / f"{name}-{subjects}-{mark}",
        role="train" if name == "ixi" else "test",
        modalities=used,
        options=options,
    )


def _cohort(name: str, table: Any, path: Path) -> Cohort:
    where = f"[cohorts.{name}] in {path}"
    if not isinstance(table, dict):
        raise CohortsError(f"{where} is no table; it needs source, root and role")
    if "name" in table:
        raise CohortsError(f"{where}: name: a cohort is called as its table is")
    if unknown := {"reviewed", "reviews"} & set(table):
        raise CohortsError(
            f"{where}: {min(unknown)}: there is no such entry; exclude names a file of reviews"
        )
    if isinstance(table.get("exclude"), str):
        table = _with_reviews(name, table, path, where)
    try:
        cohort = Cohort.model_validate({"name": name, **table})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise CohortsError(f"{where}: {field}: {first['msg']}") from error
    if (cohort.options is not None) != cohort.synthetic:
        needs = "needs" if cohort.synthetic else "takes no"
        raise CohortsError(f"{where}: source {cohort.source!r} {needs} options")
    folders = {"root": cohort.root, "masks": cohort.masks}
    update = {
        entry: _place(folder, path.parent, f"{where}: {entry}")
        for entry, folder in folders.items()
        if folder is not None
    }
    return cohort.model_copy(update=update)


def _with_reviews(name: str, table: dict[str, Any], path: Path, where: str) -> dict[str, Any]:
    """A table whose ``exclude`` names a file of reviews, with what is marked there."""
    place = _place(Path(table["exclude"]), path.parent, f"{where}: exclude")
    if not place.exists():
        raise CohortsError(
            f'{where}: exclude: there is no file of reviews {place}; a list such as ["017"] names '
            "subjects"
        )
    try:
        excluded = read_reviews(place).marked(name, "exclude")
    except ReviewsError as error:
        raise CohortsError(f"{where}: exclude: {error}") from error
    return {**table, "exclude": (), "reviewed": excluded, "reviews": place}


def _place(folder: Path, beside: Path, where: str) -> Path:
    """The absolute path of a folder that a cohorts file names."""
    try:
        place = (beside / folder.expanduser()).absolute()
    except RuntimeError as error:
        raise CohortsError(f"{where}: {folder} names the home of nobody") from error
    if not is_text(place):
        raise CohortsError(
            f"{where}: {str(place)!r} has bytes that are no UTF-8 in its name, which no record can "
            "hold: rename that folder"
        )
    return place


def phantom_folder(store: Storage) -> Path:
    """Where the built-in cohorts lie on this machine.

    That is beside a local store's data; of any other store, whose nodes write them there, it is a
    folder of its own in the user's cache.
    """
    if store.is_local:
        return Path(store.root) / "phantom"
    mark = hashlib.sha256(store.uri.encode()).hexdigest()[:8]
    return platformdirs.user_cache_path("anomaly-study") / "phantom" / mark
