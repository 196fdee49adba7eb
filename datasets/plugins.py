"""Finding plug-ins: the files of a package's folder, and entry points of what is installed.

A registry filled by decorators is empty in a fresh worker process; a folder is not, and neither are
entry points.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType


def plugin_names(package: ModuleType) -> tuple[str, ...]:
    """The sorted names of the plug-ins of a package, those of other distributions included.

    Args:
        package: An imported package such as ``datasets.sources``.
    """
    return tuple(sorted({*_own_names(package), *_installed(entry_group(package))}))


def load_plugin(package: ModuleType, name: str, kind: str) -> ModuleType:
    """Import one plug-in by its name.

    Args:
        package: The package whose folder holds the project's own plug-ins.
        name: The plug-in's module name or its entry point's, as written in a configuration.
        kind: The word for it in error messages, such as ``model``.

    Raises:
        ValueError: If there is no such plug-in (the message lists those there are), if several have
            that name, or if an installed one is no module.
    """
    names = plugin_names(package)
    if name not in names:
        raise ValueError(f"unknown {kind} {name!r}; choose one of: {', '.join(names)}")
    found = _installed(entry_group(package)).get(name, ())
    is_own = name in _own_names(package)
    if len(found) + is_own > 1:
        places = [_place(point) for point in found]
        places += [f"{package.__name__}.{name}"] if is_own else []
        raise ValueError(f"several plug-ins are called {name!r}: {', '.join(sorted(places))}")
    if is_own:
        return importlib.import_module(f"{package.__name__}.{name}")
    module = found[0].load()
    if not isinstance(module, ModuleType):
        raise ValueError(f"the entry point of the {kind} {name!r} is no module: {found[0].value}")
    return module


def entry_group(package: ModuleType) -> str:
    """The group of entry points that add to a package, such as ``anomaly_study.models``."""
    return f"anomaly_study.{package.__name__.rpartition('.')[2]}"


def forget_installed() -> None:
    """Look for entry points again the next time: something has been installed meanwhile."""
    _installed.cache_clear()


def _own_names(package: ModuleType) -> set[str]:
    return {m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")}


@cache
def _installed(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of a group by name; more than one where distributions clash."""
    found: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for point in entry_points(group=group):
        # A distribution that lies on the path twice is still one.
        found.setdefault(point.name, {})[_place(point), point.value] = point
    return {name: tuple(points.values()) for name, points in found.items()}


def _place(point: EntryPoint) -> str:
    name = point.dist.name if point.dist is not None else "?"
    return f"{point.value} of the distribution {name}"
