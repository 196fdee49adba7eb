"""Which networks go on, by the rule of the paper."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.records.halving import Halving, Stop
from study.records.types import PlannedTrial
from study.trials.halving import Rungs, rungs_of

VAE = ("vae", "T1w")


Losses = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40, unique=True)


class TestRungs:
    """The epochs after which networks are compared."""

    @pytest.mark.parametrize(
        ("epochs", "expected"), [(1, ()), (2, (1,)), (9, (1, 3)), (10, (1, 3)), (27, (3, 9))]
    )
    def test_usually_follow_a_ninth_and_a_third_of_the_training(
        self, epochs: int, expected: tuple[int, ...]
    ) -> None:
        assert Halving().rungs(epochs) == expected

    @given(epochs=st.integers(1, 2000), factor=st.integers(2, 9), grace=st.integers(1, 2000))
    def test_none_is_in_the_second_half(self, epochs: int, factor: int, grace: int) -> None:
        rungs = Halving(reduction_factor=factor, grace_epochs=grace).rungs(epochs)
        assert all(2 * rung <= epochs for rung in rungs)
        assert list(rungs) == [grace * factor**k for k in range(len(rungs))]
        assert 2 * grace * factor ** len(rungs) > epochs

    def test_what_fits_at_once_or_is_asked_for_by_a_search_has_none(
        self, make_trial: Callable[..., PlannedTrial]
    ) -> None:
        assert rungs_of(make_trial("vae", n_c=8, n_z=8, epochs=9), Halving()) == (1, 3)
        assert rungs_of(make_trial("vae", n_c=8, n_z=8, epochs=9), None) == ()
        assert rungs_of(make_trial("vae", n_c=8, n_z=8, epochs=9, search="s"), Halving()) == ()
        assert rungs_of(make_trial("gmm", gmm_lambda=0.1, epochs=9), Halving()) == ()


def promotable(rung: dict[str, float], factor: int) -> set[str]:
    """Who may leave a rung by algorithm 2 of the paper: ``top_k(rung, |rung| / factor)``."""
    return set(sorted(rung, key=lambda name: rung[name])[: len(rung) // factor])


class TestDecision:
    """Who goes on beyond a rung."""

    @given(losses=Losses, factor=st.integers(2, 5))
    def test_is_the_papers_for_all_who_come(self, losses: list[float], factor: int) -> None:
        rungs, seen = Rungs(factor), dict[str, float]()
        for number, loss in enumerate(losses):
            seen[str(number)] = loss
            stop = rungs.compare(VAE, 3, str(number), loss)
            goes_on = str(number) in promotable(seen, factor) or len(seen) < factor
            assert (stop is None) == goes_on
            if stop is not None:
                assert stop == Stop(
                    epoch=3,
                    validation_loss=loss,
                    threshold=sorted(seen.values())[len(seen) // factor - 1],
                    n_compared=len(seen),
                )

    @given(losses=Losses, factor=st.integers(2, 5))
    def test_the_best_is_never_stopped(self, losses: list[float], factor: int) -> None:
        rungs = Rungs(factor)
        stops = [rungs.compare(VAE, 1, str(n), loss) for n, loss in enumerate(losses)]
        assert stops[losses.index(min(losses))] is None

    @given(losses=st.lists(st.floats(-1e6, 1e6), max_size=4), factor=st.integers(5, 9))
    def test_fewer_than_the_factor_are_never_stopped(
        self, losses: list[float], factor: int
    ) -> None:
        rungs = Rungs(factor)
        assert all(rungs.compare(VAE, 1, str(n), x) is None for n, x in enumerate(losses))

    def test_models_modalities_and_rungs_are_compared_apart(self) -> None:
        rungs = Rungs(2)
        rungs.add(VAE, 1, "good", 1.0)
        assert rungs.compare(("ae", "T1w"), 1, "a", 9.0) is None
        assert rungs.compare(("vae", "T2w"), 1, "b", 9.0) is None
        assert rungs.compare(VAE, 2, "c", 9.0) is None
        assert rungs.compare(VAE, 1, "d", 9.0) is not None

    def test_a_network_is_asked_once(self) -> None:
        rungs = Rungs(2)
        assert rungs.compare(VAE, 1, "first", 5.0) is None
        rungs.add(VAE, 1, "better", 1.0)
        assert rungs.compare(VAE, 1, "first", 5.0) is None  # its worker was lost, and tells again
