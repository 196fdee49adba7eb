"""The names of image files: what they end in, and which two make one image.

A pair is an image in two files: ``scan.img`` holds the voxels and stands for both, ``scan.hdr``
says what they are. Either may be packed by gzip.
"""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".nii.gz", ".nii", ".mgz", ".mgh.gz", ".mgh", ".img.gz", ".img")
"""What the name of an image or mask ends in, in any case; that of a pair, its voxels'."""

_PACKED = ".gz"
_VOXELS, _HEADER = ".img", ".hdr"


def image_suffix(name: str) -> str:
    """What of a file's name says that it is an image, as it is written; empty if it is none.

    The header of a pair is none: its image is the file with the voxels.
    """
    return _ending(name, SUFFIXES)


def header_suffix(name: str) -> str:
    """What of a file's name says that it is the header of a pair, as it is written; or nothing."""
    return _ending(name, (_HEADER + _PACKED, _HEADER))


def header_beside(image: Path) -> Path | None:
    """The header of a pair by the path of its voxels; ``None`` for every other image.

    If none is there, it is the path where it would be.
    """
    suffix = image_suffix(image.name)
    if not suffix.lower().startswith(_VOXELS):
        return None
    ending = _HEADER.upper() if suffix.isupper() else _HEADER
    packed = _PACKED.upper() if suffix.isupper() else _PACKED
    stem = image.name[: -len(suffix)]
    paths = [image.with_name(stem + ending), image.with_name(stem + ending + packed)]
    if suffix.lower().endswith(_PACKED):
        paths.reverse()
    return next((path for path in paths if path.is_file()), paths[0])


def files_of(image: Path) -> tuple[Path, ...]:
    """All files of an image, by the path that stands for it."""
    header = header_beside(image)
    return (image,) if header is None else (image, header)


def _ending(name: str, endings: tuple[str, ...]) -> str:
    for ending in endings:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[-len(ending) :]
    return ""
