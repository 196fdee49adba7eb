"""A file with a digest tells of every change."""

from __future__ import annotations

import json

import pytest

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


def test_every_flipped_bit_shows() -> None:
    good = json_with_digest(RECORD.encode())
    for place in range(8 * len(good)):
        data = bytearray(good)
        data[place // 8] ^= 1 << place % 8
        if not has_changed(bytes(data)):
            with pytest.raises(ValueError):  # no reader takes it for a record
                json.loads(data)


def test_every_file_that_was_cut_short_shows() -> None:
    good = json_with_digest(RECORD.encode())
    for length in range(len(good)):
        if not has_changed(good[:length]):
            with pytest.raises(ValueError):
                json.loads(good[:length])


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
