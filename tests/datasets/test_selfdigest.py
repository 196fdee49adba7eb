"""A file with a digest tells of every change."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.selfdigest import fill_in, has_changed, is_intact, json_digest, json_with_digest

RECORD = json.dumps({"trial_id": "t", "parts": {"a": 1}, "text": 'a "digest": "0"'}, indent=1)


def test_a_record_with_a_digest_is_json_that_says_the_same() -> None:
    data = json_with_digest(RECORD.encode())
    content = json.loads(data)
    assert len(content.pop("digest")) == 64
    assert content == json.loads(RECORD)
    assert not has_changed(data)


def test_a_record_without_one_is_older_and_not_changed() -> None:
    assert json_digest(RECORD.encode()) is None
    assert not has_changed(RECORD.encode())


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 8 * len(json_with_digest(RECORD.encode())) - 1))
def test_a_flipped_bit_shows_or_leaves_the_content_as_it_was(place: int) -> None:
    good = json_with_digest(RECORD.encode())
    data = bytearray(good)
    data[place // 8] ^= 1 << place % 8
    if has_changed(bytes(data)):
        return
    # Only the name of the digest itself can be so: then it counts as a record without one.
    try:
        content = json.loads(data)
    except ValueError:
        return  # no reader takes this for a record
    assert {k: v for k, v in content.items() if k in json.loads(RECORD)} == json.loads(RECORD)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"a": 1', b'"a": 2'),
        lambda data: data.replace(b'"trial_id"', b'"trial_ie"'),
        lambda data: data + data,
        lambda data: data[:9] + data[10:],
    ],
)
def test_an_edit_shows(change) -> None:  # type: ignore[no-untyped-def]
    data = change(json_with_digest(RECORD.encode()))
    assert has_changed(data)


def test_a_digest_within_other_bytes_covers_them_all() -> None:
    data = fill_in(b"before" + b"0" * 64 + b"after")
    digest = data[6:70]
    assert is_intact(data, digest)
    assert not is_intact(data + b"!", digest)
    assert not is_intact(b"B" + data[1:], digest)
    with pytest.raises(ValueError, match="no place"):
        fill_in(b"no zeros")
