"""A kill of everything that can be killed, at every moment; ``make faults`` does all pairs."""

from __future__ import annotations

import pytest

from tests.faults.kills import Arena

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("target", "moment", "nth"),
    [
        ("driver", "parts, no manifest", 1),
        ("driver", "index compaction", 0),
        ("worker", "evaluation", 0),
        ("raylet", "training", 0),
        ("process group", "preparation", 1),
        ("process group", "writing a record", 0),
    ],
)
def test_a_killed_study_goes_on_and_ends_like_an_undisturbed_one(
    arena: Arena, target: str, moment: str, nth: int
) -> None:
    outcome = arena.kill(target, moment, nth)
    assert outcome.hit, "the kill hit nothing"
    assert outcome.problems == ()
