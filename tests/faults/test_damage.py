"""Single damages of every kind, as ``make faults`` makes them by the thousand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from datasets.layout import Kind, kind_of
from tests.faults.damage.campaign import Campaign
from tests.faults.damage.copies import Copies
from tests.faults.damage.draws import Damage, draw, spread
from tests.faults.damage.places import FILES, NO_RECORD, UnknownFileError, find_places, plain
from tests.faults.damage.resume import Resumer

pytestmark = pytest.mark.slow

COUNT, SEED = 60, 0
LIMIT_S = 300.0
"""A command that takes longer hangs, whatever else this machine has to do."""

RESUMED = (
    Damage("trials/T/attempts/A/model.safetensors", "bit flip", 0, SEED),
    Damage("shards/scans/KEY/slices.parquet", "truncation", 0, SEED),
    Damage("eval/E/", "swap", 0, SEED),
)
"""One of each wing that makes again what is damaged: fits, scans, evaluations."""


@pytest.fixture(scope="module")
def campaign(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """A store to damage, and what looks at it."""
    with (
        closing(Copies(tmp_path_factory.mktemp("damage"), address, LIMIT_S)) as copies,
        closing(Resumer(copies)) as resumer,
    ):
        yield Campaign(copies, resumer)
        assert copies.intact() == []


def test_no_damage_goes_unseen_changes_a_result_in_silence_or_reaches_out_of_the_store(
    campaign: Campaign,
) -> None:
    damages = draw(campaign.copies.places, COUNT - len(RESUMED), SEED)
    outcomes = [campaign.run(damage, resume=False) for damage in damages]
    assert len({outcome.damage.name for outcome in outcomes}) > COUNT // 2
    wrong = [(o.words, o.wrong) for o in outcomes if o.wrong]
    assert wrong == []


@pytest.mark.parametrize("damage", RESUMED, ids=lambda damage: damage.name)
def test_a_store_that_is_repaired_and_resumed_is_as_if_nothing_had_happened(
    campaign: Campaign, damage: Damage
) -> None:
    outcome = campaign.run(damage, resume=True)
    assert outcome.resumed
    assert outcome.wrong == []


def test_every_kind_of_file_that_a_store_may_have_is_damaged(campaign: Campaign) -> None:
    places = campaign.copies.places
    drawn = draw(places, 2000, SEED)
    damaged = {kind_of(path) for d in drawn for path in places[d.kind]} - {None}
    assert damaged == set(Kind) - NO_RECORD
    assert {plain(d.kind) for d in drawn} >= set(FILES)
    assert set(draw(places, 200, SEED)) < set(drawn)  # what a smaller campaign finds stays found
    assert len(drawn) == len(set(drawn)) == 2000
    assert len(set(spread(drawn, 100))) == 100


def test_a_kind_of_file_that_comes_later_has_to_join(campaign: Campaign, tmp_path: Path) -> None:
    (tmp_path / "studies/a").mkdir(parents=True)
    (tmp_path / "studies/a/notes.json").write_text("{}")
    with pytest.raises(UnknownFileError, match=r"studies/a/notes\.json.*places\.py"):
        find_places(tmp_path)
