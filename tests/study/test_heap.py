"""Workers keep what they free until they hand it back."""

import multiprocessing
import platform

import numpy as np
import pytest

from study.cluster.memory import keep_freed, release
from study.cluster.processes import private_gib

GIB = 0.125


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="elsewhere nothing is changed")
def test_freed_memory_stays_until_it_is_handed_back() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        usual, kept, after = pool.apply(_gib_after_freeing)

    assert usual < GIB / 4
    assert kept == pytest.approx(GIB, rel=0.1)
    assert after < GIB / 4


def _gib_after_freeing() -> tuple[float, float, float]:
    """What a freed block still takes: as usual, kept, and handed back."""
    before = private_gib()
    _fill()
    usual = private_gib() - before
    keep_freed()
    before = private_gib()
    _fill()
    kept = private_gib() - before
    release()
    return usual, kept, private_gib() - before


def _fill() -> None:
    np.ones(int(GIB * 2**30), np.uint8)
