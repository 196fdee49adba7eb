import numpy as np

from trainables.halves import to_float16, to_float32


def test_every_half_is_a_float32_as_numpy_has_it():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    singles = to_float32(halves)
    assert singles.dtype == np.float32
    np.testing.assert_array_equal(singles, halves.astype(np.float32))
    np.testing.assert_array_equal(to_float16(singles), halves)


def test_floats_become_the_halves_that_numpy_makes_of_them():
    halves = np.arange(2**15 - 2**10, dtype=np.uint16).view(np.float16).astype(np.float32)
    between = (halves[1:] + halves[:-1]) / 2  # exactly in the middle: the even one of both
    beyond = np.array([65519.9, 65520, 1e38, np.inf, 1e-8, 3e-8, 1e-40, 0], np.float32)
    rng = np.random.default_rng(0)
    anything = rng.standard_normal(10_000).astype(np.float32) * 10.0 ** rng.integers(-8, 5, 10_000)
    for values in (between, np.nextafter(between, np.float32(0)), beyond, anything):
        singles = values.astype(np.float32)
        for one in (singles, -singles):
            with np.errstate(over="ignore"):
                theirs = one.astype(np.float16)
            np.testing.assert_array_equal(to_float16(one).view(np.uint16), theirs.view(np.uint16))
