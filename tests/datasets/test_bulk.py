"""The garbage collector rests where many objects are made, and nowhere else."""

from __future__ import annotations

import gc

import pytest

from datasets.bulk import many_objects


def test_the_collector_rests_until_the_last_one_is_out() -> None:
    assert gc.isenabled()
    with many_objects():
        with many_objects():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_inside_brings_the_collector_back() -> None:
    with pytest.raises(ValueError, match="inside"), many_objects():
        raise ValueError("inside")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with many_objects():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
