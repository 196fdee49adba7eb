"""What decides a phantom, and the marker file that says which one lies in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datasets.errors import SourceError
from datasets.files import read_regular
from datasets.phantom.layouts import LAYOUTS, LayoutName
from datasets.scan import MODALITIES, ONLY_IF_ASKED, Modality

PHANTOM_VERSION = 3
"""Raised whenever the same options would give other files than before."""


MARKER = "phantom.json"
"""The file that says that a phantom is complete, and with which options; written last."""


STARTED = "phantom.started.json"

MOST_BYTES = 1 << 16
"""A marker has some hundred bytes."""


class PhantomOptions(BaseModel):
    """What decides every byte of a phantom cohort.

    Attributes:
        layout: The data set whose files it imitates.
        subjects: Number of subjects.
        seed: Seed of everything random.
        lesion_contrast: Factor of the lesions' change of signal; at 0 their masks remain and
            nothing of them is visible.
        in_plane_mm: Size of a voxel within an axial slice.
        slice_mm: Distance between axial slices.
        noise: Factor of the noise.
        more_modalities: What is scanned beside the usual modalities, where the layout has it. The
            other files are the same with and without.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: LayoutName
    subjects: int = Field(ge=1, le=999)
    seed: int = Field(default=0, ge=0)
    lesion_contrast: float = Field(default=1.0, ge=0, le=2)
    in_plane_mm: float = Field(default=2.0, ge=0.8, le=4)
    slice_mm: float = Field(default=2.5, ge=0.8, le=8)
    noise: float = Field(default=1.0, ge=0, le=10)
    more_modalities: tuple[Modality, ...] = ()

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What is scanned."""
        views = LAYOUTS[self.layout].views
        asked = {*self.more_modalities, *(m for m in MODALITIES if m not in ONLY_IF_ASKED)}
        return tuple(m for m in MODALITIES if m in views and m in asked)

    def content(self) -> dict[str, Any]:
        """The options as JSON; one that came later is left out where it is not used."""
        unused = set() if self.more_modalities else {"more_modalities"}
        return self.model_dump(mode="json", exclude=unused)


def read_options(root: Path) -> PhantomOptions:
    """The options of the complete phantom in a folder.

    Raises:
        SourceError: If there is none, or another version of the software wrote it.
    """
    options = read_marker(root / MARKER)
    if options is None:
        raise SourceError(
            f"{root} holds no complete phantom: expected a folder with {MARKER}, which is written "
            "when all of its scans are"
        )
    return options


def marker_bytes(options: PhantomOptions) -> bytes:
    """What the marker file of a phantom says."""
    content = {"version": PHANTOM_VERSION, "options": options.content()}
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def read_marker(path: Path) -> PhantomOptions | None:
    """The options in a marker; None if there is no such file."""
    try:
        content = json.loads(read_regular(path, MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path} cannot be read as a phantom's marker: {error}") from error
    version = content.get("version") if isinstance(content, dict) else None
    if version != PHANTOM_VERSION:
        raise SourceError(
            f"{path.parent} holds a phantom of version {version}, this software writes version "
            f"{PHANTOM_VERSION}: delete it, or choose another folder"
        )
    try:
        return PhantomOptions.model_validate(content.get("options"))
    except ValidationError as error:
        raise SourceError(f"{path} holds no options of a phantom: {error}") from error


def differences(found: PhantomOptions, wanted: PhantomOptions) -> str:
    """Which options differ, such as ``subjects 4 instead of 6``."""
    have, want = found.model_dump(), wanted.model_dump()
    return ", ".join(f"{k} {have[k]} instead of {want[k]}" for k in have if have[k] != want[k])
