"""One arena for all kills: its undisturbed study is what the others are compared with."""

from __future__ import annotations

import pytest

from tests.faults.kills import Arena


@pytest.fixture(scope="session")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Arena:
    return Arena(tmp_path_factory.mktemp("arena"))
