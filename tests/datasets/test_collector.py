"""The garbage collector rests where many objects are made, and nowhere else."""

from __future__ import annotations

import gc

import pytest

from datasets.collector import disable_gc


def test_the_collector_rests_until_the_last_one_is_out() -> None:
    assert gc.isenabled()
    with disable_gc():
        with disable_gc():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_inside_brings_the_collector_back() -> None:
    with pytest.raises(ValueError, match="inside"), disable_gc():
        raise ValueError("inside")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with disable_gc():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
