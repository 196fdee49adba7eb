"""What a file is by its name, and why it cannot be read, before anything is opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from datasets.files import open_regular
from datasets.formats import header_beside, image_suffix
from datasets.scan import NO_IMAGE

_FORMATS: dict[str, str] = {
    **dict.fromkeys((".dcm", ".dicom", ".ima"), "DICOM"),
    **dict.fromkeys((".mif", ".mif.gz", ".mih"), "MRtrix"),
    **dict.fromkeys((".nrrd", ".nhdr", ".seg.nrrd"), "NRRD"),
    **dict.fromkeys((".mha", ".mhd"), "MetaImage"),
    **dict.fromkeys((".mnc", ".mnc.gz"), "MINC"),
    **dict.fromkeys((".par", ".rec", ".xml.rec"), "Philips PAR/REC"),
    **dict.fromkeys((".brik", ".brik.gz", ".head"), "AFNI"),
    **dict.fromkeys((".vmr", ".v16"), "BrainVoyager"),
}
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar", ".bz2", ".xz", ".zst", ".lz4")
_POINTER_BYTES = 1024
"""A file no larger than this may stand for one that was not fetched."""


def image_stem(name: str) -> str | None:
    """An image's name without its ending, see :mod:`datasets.formats`; ``None`` for others."""
    suffix = image_suffix(name)
    return name[: -len(suffix)] if suffix else None


def left_out_as(name: str) -> tuple[str, bool]:
    """Why a file is left out for its name alone, and whether it may hold an image all the same."""
    lower = name.lower()
    if name.startswith("."):
        return "hidden file", False
    for ending, form in _FORMATS.items():
        if lower.endswith(ending):
            return f"in the format {form} ({ending}), which is not read: convert it to NIfTI", True
    if lower.endswith(_ARCHIVES):
        return "an archive, or packed other than by gzip: unpack it", True
    ending = Path(lower).suffix
    kind = ending if ending[1:].isalpha() and len(ending) <= 6 else "another or no ending"
    return f"{NO_IMAGE} ({kind})", False


def image_problem(path: Path) -> str | None:
    """Why an image cannot be read as a file, or as the two files of a pair."""
    header = header_beside(path)
    problem = _file_problem(path)
    if header is None or problem is not None:
        return problem
    if not os.path.lexists(header):
        return f"half of a pair: no {header.name} beside it"
    fault = _file_problem(header)
    return None if fault is None else f"its header {header.name}: {fault}"


def _file_problem(path: Path) -> str | None:
    """Why a path cannot be read as a file, from its metadata; of a tiny file, from its text.

    Data sets that are kept with git-annex or Git LFS have a link that leads nowhere, or a file of
    a line or three, where the content was not fetched.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return _missing(path)
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    effective = os.access in os.supports_effective_ids
    if not os.access(path, os.R_OK, effective_ids=effective):
        return "no permission to read it"
    return _pointer(path) if 0 < status.st_size <= _POINTER_BYTES else None


def _missing(path: Path) -> str:
    try:
        target = os.readlink(path)
    except OSError:
        return "it vanished while the folder was listed"
    if "annex/objects" in target.replace(os.sep, "/"):
        return "not fetched: a git-annex link without its content ('datalad get' fetches it)"
    return "a link to a file that does not exist"


def _pointer(path: Path) -> str | None:
    try:
        with open_regular(path) as stream:
            text = stream.read(_POINTER_BYTES)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if text.startswith(b"version https://git-lfs."):
        return "not fetched: a Git LFS pointer without its content ('git lfs pull' fetches it)"
    if text.startswith(b"/annex/objects/"):
        return "not fetched: a git-annex pointer without its content ('datalad get' fetches it)"
    return None
