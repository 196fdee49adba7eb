"""Kinds of damage. Each changes a copy of the store in one place, and says what it did."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from tests.faults.damage.places import FOLDERS
from tests.faults.damage.scene import Done, Scene, beside

Harm = Callable[[Scene], Done | None]
"""Damages a copy; None, and nothing is changed, if there is nothing for it to act on."""

_RECORDS = ("trials/T/", "eval/E/", "shards/scans/KEY/", "shards/KEY/", "studies/S/")
"""Folders whose name is the identity of the record in them."""


def flip_bit(scene: Scene) -> Done | None:
    """Flip one bit of a file."""
    path = scene.one()
    data = bytearray((scene.root / path).read_bytes())
    bit = scene.rng.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    scene.write(path, bytes(data))
    return Done(f"bit {bit} of {path} flipped")


def truncate(scene: Scene) -> Done | None:
    """Cut off all of a file, half of it, or its last byte."""
    path = scene.one()
    data = (scene.root / path).read_bytes()
    left = int(scene.variant("0", str(len(data) // 2), str(len(data) - 1)))
    scene.write(path, data[:left])
    return Done(f"{path} cut to {left} of {len(data)} bytes")


def swap(scene: Scene) -> Done | None:
    """Exchange two files or folders of a kind."""
    pair = scene.two()
    if pair is None:
        return None
    first, second = (scene.root / path for path in pair)
    aside = scene.root / "aside"
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    return Done(f"{pair[0]} and {pair[1]} exchanged", is_others=True)


def copy_over(scene: Scene) -> Done | None:
    """Put a copy of a file or folder in the place of another one of its kind."""
    pair = scene.two()
    if pair is None:
        return None
    source, target = pair
    scene.clear(target)
    scene.copy(scene.root / source, scene.root / target)
    return Done(f"{source} copied over {target}", is_others=True)


def copy_beside(scene: Scene) -> Done | None:
    """Put a copy of a file or folder beside it, under another name."""
    path = scene.one()
    target = beside(path, scene.name_like(path))
    scene.copy(scene.root / path, scene.root / target)
    return Done(f"{path} copied to {target}", foreign=target if scene.kind in _RECORDS else "")


def copy_elsewhere(scene: Scene) -> Done | None:
    """Put a copy of a folder, under its own name, where another one of its kind lies."""
    pair = scene.two_apart()
    if pair is None:
        return None
    source, target = pair[0], beside(pair[1], pair[0])
    scene.copy(scene.root / source, scene.root / target)
    return Done(f"{source} copied to {target}", foreign=target if scene.kind == "eval/E/" else "")


def delete(scene: Scene) -> Done | None:
    """Delete a file or folder."""
    path = scene.one()
    scene.clear(path)
    return Done(f"{path} deleted")


def link_instead(scene: Scene) -> Done | None:
    """Put a link in the place of a file or folder."""
    path = scene.one()
    full = scene.root / path
    others = [member for member in scene.members if member != path]
    variants = ["itself", "nothing", "a file outside", "a folder outside", "its own copy outside"]
    if others:
        variants.append("another one")
    what = scene.variant(*variants)
    outside = scene.outside
    target = {
        "itself": full,
        "nothing": scene.root / "nothing",
        "a file outside": outside / "notes.txt",
        "a folder outside": outside / "folder",
        "its own copy outside": outside / full.name,
        "another one": scene.root / (scene.rng.choice(others) if others else ""),
    }[what]
    if what == "its own copy outside":
        scene.copy(full, target)
    scene.clear(path)
    full.symlink_to(target)
    return Done(
        f"{path} replaced by a link to {what} ({target.name})",
        is_readable=what == "its own copy outside",
        is_others=what == "another one",
    )


def fifo_instead(scene: Scene) -> Done | None:
    """Put a named pipe in the place of a file."""
    path = scene.one()
    scene.clear(path)
    os.mkfifo(scene.root / path)
    return Done(f"{path} replaced by a named pipe")


def folder_instead(scene: Scene) -> Done | None:
    """Put a folder in the place of a file, empty or with the file in it."""
    path = scene.one()
    data = (scene.root / path).read_bytes()
    scene.clear(path)
    (scene.root / path).mkdir()
    if scene.variant("empty", "full") == "full":
        (scene.root / path / path.rpartition("/")[2]).write_bytes(data)
    return Done(f"{path} replaced by a folder")


def file_instead(scene: Scene) -> Done | None:
    """Put a file in the place of a folder."""
    path = scene.one()
    scene.clear(path)
    (scene.root / path).write_text("a file")
    return Done(f"{path} replaced by a file")


def add_link(scene: Scene) -> Done | None:
    """Put a link into a folder, or two."""
    path = scene.one()
    folder = scene.root / path
    what = scene.variant(
        "the user's folder", "itself", "another one", "each other", "itself, twice", "a file"
    )
    others = [member for member in scene.members if member != path]
    other = scene.root / scene.rng.choice(others) if others else folder.parent
    name, second = scene.link_name(), f"{scene.link_name()}_2"
    targets = {
        "the user's folder": {name: str(scene.outside / "folder")},
        "itself": {name: "."},
        "another one": {name: str(other)},
        "each other": {name: second, second: name},
        "itself, twice": {name: ".", second: "."},
        "a file": {name: str(scene.outside / "notes.txt")},
    }[what]
    for link, target in targets.items():
        (folder / link).symlink_to(target)
    return Done(f"{name} in {path or 'STORE'} links to {what}")


FILE_HARMS: dict[str, Harm] = {
    "bit flip": flip_bit,
    "truncation": truncate,
    "swap": swap,
    "copy over": copy_over,
    "copy beside": copy_beside,
    "deletion": delete,
    "link instead": link_instead,
    "pipe instead": fifo_instead,
    "folder instead": folder_instead,
}

FOLDER_HARMS: dict[str, Harm] = {
    "swap": swap,
    "copy over": copy_over,
    "copy beside": copy_beside,
    "copy elsewhere": copy_elsewhere,
    "deletion": delete,
    "link instead": link_instead,
    "file instead": file_instead,
    "link added": add_link,
}

WEIGHTS = {"bit flip": 4, "link added": 3, "truncation": 2}
"""How much more often than the others some are drawn: those that have more variants."""


def harms_of(kind: str, members: Sequence[str]) -> dict[str, Harm]:
    """The kinds of damage that a kind of file or folder may suffer.

    Args:
        kind: The kind.
        members: Paths of all there are.
    """
    if kind == "STORE/":
        return {"link added": add_link}
    found = dict(FOLDER_HARMS if kind in FOLDERS else FILE_HARMS)
    if len(members) < 2:
        del found["swap"], found["copy over"]
    folders, names = ({path.rpartition("/")[i] for path in members} for i in (0, 2))
    if len(folders) < 2 or len(names) < 2:
        found.pop("copy elsewhere", None)
    return found
