"""What lies where a folder of a store belongs, and is none: a file, a pipe, a link.

The next run would write into whatever a link leads to, or could not write at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from datasets.layout import is_folder_of_ours, kind_of
from datasets.storage import Storage
from study.store.contents import Item

_RECORDS = ("manifest.json", "checkpoint.json", "record.json", "study.json")


def in_the_way(
    store: Storage, item: Item, parts: Collection[str], can_read: Callable[[str], bool]
) -> str:
    """Why something is in the way of a folder of ours; empty if it is not.

    A link is not, if what belongs there can be read through it: then somebody has moved it.

    Args:
        store: The store.
        item: No folder itself.
        parts: Paths of the parts that records name.
        can_read: Whether a part is whole, or a record is there and that of its place.
    """
    if not is_folder_of_ours(item.path) or item.entry.is_folder:
        return ""
    if not item.entry.is_link:
        return f"{item.path!r} is no folder, and a folder of the store belongs there"
    named = [path for path in parts if path.startswith(f"{item.path}/")]
    if any(can_read(path) for path in (*named, *_records_behind(store, item.path))):
        return ""
    return f"{item.path!r} is a link in place of a folder, and nothing of the store is behind it"


def _records_behind(store: Storage, path: str) -> Iterator[str]:
    """Where the records of a folder, and of the folders in it, would lie."""
    folders = (path, *(f"{path}/{name}" for name in store.names(path)))
    for folder in folders:
        for name in _RECORDS:
            if kind_of(f"{folder}/{name}") is not None:
                yield f"{folder}/{name}"
