"""Finding plug-ins by listing a package's folder.

A registry filled by decorators is empty in a fresh worker process; a folder is not.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def plugin_names(package: ModuleType) -> tuple[str, ...]:
    """The sorted names of the public modules in a package.

    Args:
        package: An imported package such as ``datasets.sources``.
    """
    found = pkgutil.iter_modules(package.__path__)
    return tuple(sorted(m.name for m in found if not m.name.startswith("_")))


def load_plugin(package: ModuleType, name: str, kind: str) -> ModuleType:
    """Import one plug-in of a package by its file name.

    Args:
        package: The package whose folder holds the plug-ins.
        name: The plug-in's module name, as written in a configuration.
        kind: The word for it in error messages, such as ``model``.

    Raises:
        ValueError: If there is no such plug-in; the message lists those there are.
    """
    names = plugin_names(package)
    if name not in names:
        raise ValueError(f"unknown {kind} {name!r}; choose one of: {', '.join(names)}")
    return importlib.import_module(f"{package.__name__}.{name}")
