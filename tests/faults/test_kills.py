"""A kill of everything that can be killed; ``make faults`` does so at every moment."""

from __future__ import annotations

import pytest

from tests.faults.kills import Arena

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("target", "moment", "nth"),
    [
        ("worker", "training", 0),
        ("raylet", "evaluation", 0),
        ("process group", "preparation", 1),
    ],
)
def test_a_killed_study_goes_on_and_ends_like_an_undisturbed_one(
    arena: Arena, target: str, moment: str, nth: int
) -> None:
    outcome = arena.kill(target, moment, nth)
    assert outcome.hit, "the kill hit nothing"
    assert outcome.problems == ()
