"""What reading scans may raise, apart from the store's own errors; importing this is cheap."""

from __future__ import annotations


class ScanError(ValueError):
    """A scan that cannot be used; the message names the file and the reason in one sentence."""


class ScanChangedError(Exception):
    """A scan whose files were changed while it was prepared; the message names it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)


class SourceError(ValueError):
    """A folder that cannot be read as the data set it was declared to be."""


class ExtractorError(ValueError):
    """A brain extraction tool that was asked for and cannot be run on this machine."""


class NothingFoundError(SourceError):
    """A folder that holds no scan of the layout it was declared to have."""
