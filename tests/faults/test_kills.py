"""One kill of each kind; ``make faults`` does more of each."""

from __future__ import annotations

import pytest

from tests.faults.kills import KINDS, MOMENTS, Arena

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("target", "moment"), KINDS, ids="-".join)
def test_a_killed_study_goes_on_and_ends_like_an_undisturbed_one(
    arena: Arena, target: str, moment: str
) -> None:
    variant = len(target) % len(MOMENTS[moment])  # not the same one for every target
    outcome = arena.kill(target, moment, variant)
    assert outcome.hit, "the kill hit nothing"
    assert outcome.problems == ()
