"""The phantom: synthetic cohorts, listed through the source whose layout they imitate."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from datasets.phantom.settings import read_options
from datasets.scan import Listing, Modality, Source


def list_scans(root: Path, modalities: tuple[Modality, ...]) -> Listing:
    """List a phantom's scans through the source of its layout, see ``datasets.scan.Source``.

    Raises:
        SourceError: If ``root`` holds no complete phantom.
    """
    options = read_options(root)
    source = cast(Source, import_module(f"datasets.sources.{options.layout}"))
    return source.list_scans(root, modalities)
