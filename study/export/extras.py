"""Packages that only some targets need, and what an export says it has done."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from study.errors import UsageError


@dataclass(frozen=True)
class Exported:
    """What an export has done.

    Attributes:
        written: Runs that were not there, or had other figures.
        known: Runs that were there as they are.
        where: What to look at.
    """

    written: int
    known: int
    where: str


def needed(module: str, extra: str) -> Any:
    """Import a package that an extra of the project brings.

    Args:
        module: Its name for Python.
        extra: The extra.

    Raises:
        UsageError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UsageError(
            f"this needs the package {package}: pip install 'anomaly-study[{extra}]'"
        ) from error
