"""What a user wants to run on a cluster, checked on this machine before anything is sent."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import typer

from datasets.files import read_regular
from datasets.filesystems import shown
from datasets.storage import Storage, StorageError
from study import cli
from study.cluster.code import SUBMITTED
from study.errors import UsageError
from study.grids import _grid
from study.grids._grid import load_grid
from study.prepare import cohorts as cohorts_file
from study.prepare.cohorts import read_cohorts
from study.run import command as run_command
from study.run.request import halving_choice

_COHORTS = "cohorts.toml"
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Submission:
    """A study that can be sent.

    Attributes:
        arguments: What follows ``python -m study.run`` on the cluster.
        files: Files that travel, by their name there: a grid, a cohorts file.
        environment: Variables of the job and of its workers; never to be printed.
    """

    arguments: tuple[str, ...]
    files: dict[str, bytes]
    environment: dict[str, str] = field(default_factory=dict, repr=False)


def make_submission(
    arguments: Sequence[str], names: Sequence[str], note: Callable[[str], None]
) -> Submission:
    """Check all that ``study.run`` would refuse on the cluster, as far as it can be seen here.

    Args:
        arguments: The options of ``study.run``.
        names: Of the environment variables that travel.
        note: Told in a sentence what could not be checked from here.

    Raises:
        UsageError: If an option is wrong; the message names it.
        CohortsError: If the cohorts file is.
    """
    options = _options(arguments)
    if options["address"] is not None:
        raise UsageError("study.submit takes no --address: a job runs on the cluster that it is in")
    cli.arithmetic(options["precision"])
    cli.device_choice(options["device"])
    halving_choice(options["asha"], options["asha_factor"], options["asha_grace"])
    cli.preprocess_settings(
        options["brain_extractor"], options["normalisation"], options["brain_mask"]
    )
    files: dict[str, bytes] = {}
    replaced: dict[str, str] = {}
    load_grid(options["grid"])
    if options["grid"].endswith(".py"):
        path = Path(options["grid"])
        files[path.name] = read_regular(path, _grid.MOST_BYTES)
        replaced["--grid"] = f"{SUBMITTED}/{path.name}"
    if options["cohorts"] is not None:
        files[_COHORTS] = _cohorts(options["cohorts"])
        replaced["--cohorts"] = f"{SUBMITTED}/{_COHORTS}"
    _check_store(options["store"], note)
    if options["study"] is not None:
        cli.open_study(Storage.open("/nowhere"), options["study"])  # looks at the name alone
    sent = _with_values(arguments, replaced)
    if {**_options(sent), "grid": None, "cohorts": None} != {
        **options,
        "grid": None,
        "cohorts": None,
    }:
        raise UsageError("an option's value may not be the name of another option")
    return Submission(tuple(sent), files, environment(names, os.environ))


def environment(names: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    """The variables of those names.

    Raises:
        UsageError: If one is not set, or is no name; no value is part of the message.
    """
    for name in names:
        if not _ENVIRONMENT_NAME.fullmatch(name):
            plain = name.partition("=")[0]
            what = repr(plain) if _ENVIRONMENT_NAME.fullmatch(plain) else "what was given"
            raise UsageError(
                f"--env takes the name of a variable alone, and {what} is more than that: its "
                "value is read from this command's environment"
            )
        if name not in known:
            raise UsageError(f"--env {name}: this command's environment has no such variable")
    return {name: known[name] for name in sorted(set(names))}


def _options(arguments: Sequence[str]) -> dict[str, Any]:
    """The options as ``study.run`` reads them; complains as it does."""
    command = typer.main.get_command(run_command.app)
    return dict(command.make_context("python -m study.submit", list(arguments)).params)


def _cohorts(path: Path) -> bytes:
    """A cohorts file whose roots mean the same on every machine."""
    read_cohorts(path)
    data = read_regular(path, cohorts_file.MOST_BYTES)
    for name, table in tomllib.loads(data.decode("utf-8-sig"))["cohorts"].items():
        for entry in ("root", "masks"):
            if entry in table and not PurePosixPath(table[entry]).is_absolute():
                raise UsageError(
                    f"[cohorts.{name}] in {path}: {entry}: {table[entry]!r} is no absolute path, "
                    "and the cluster's machines have other folders: write where the scans lie there"
                )
        if isinstance(table.get("exclude"), str):
            raise UsageError(
                f"[cohorts.{name}] in {path}: exclude: {table['exclude']!r} is a file, which does "
                "not travel: name the subjects that it marks instead"
            )
    return data


def _check_store(uri: str, note: Callable[[str], None]) -> None:
    if "://" not in uri and not PurePosixPath(uri).is_absolute():
        cli.open_store(uri)  # s3:bucket is no path either, and may have a key in it
        raise UsageError(
            f"the store {shown(uri)} is no absolute path: name with --store a folder that all of "
            "the cluster's machines have, or a URI such as s3://bucket/x"
        )
    if "://" not in uri:
        return  # a folder of the cluster's machines
    try:
        cli.open_store(uri)
    except StorageError as error:
        note(f"The store cannot be looked at from here, which the cluster may well do: {error}")


def _with_values(arguments: Sequence[str], replaced: Mapping[str, str]) -> list[str]:
    """The arguments with other values of some options."""
    sent: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in replaced:
            sent.append(word)
        elif not equals:
            next(words, None)
    for name, value in sorted(replaced.items()):
        sent += [name, value]
    return sent
