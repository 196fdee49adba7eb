"""What tests of data share."""

from __future__ import annotations

from pathlib import Path

import pytest

from datasets.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An empty store."""
    return Storage.open(str(tmp_path / "store"))
