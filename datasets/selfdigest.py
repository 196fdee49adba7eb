"""Files that carry the SHA-256 of their own content, so that any change of them shows.

The digest is that of all bytes of the file, with the 64 digits of the digest itself as zeros. It
guards against faults of disks and hands, not against somebody who computes it anew.
"""

from __future__ import annotations

import hashlib
import re

BLANK = b"0" * 64
"""Stands where the digest goes while it is computed."""

_TAIL = re.compile(rb',\n "digest": "([0-9a-f]{64})"\n}\n?\Z')
_TAIL_LENGTH = 128

_LIKE_TAIL = re.compile(rb'"digest"|"[^"]*": "[0-9a-f]{64}"\n}\n?\Z')
"""The tail of a file that has a digest, where a bit of its name or of its value may differ."""


def fill_in(data: bytes) -> bytes:
    """Put the digest of a file where its last 64 zeros in a row are.

    Raises:
        ValueError: If there are none.
    """
    place = data.rfind(BLANK)
    if place < 0:
        raise ValueError("there is no place for a digest")
    digest = hashlib.sha256(data).hexdigest().encode()
    return data[:place] + digest + data[place + 64 :]


def is_intact(data: bytes, digest: bytes) -> bool:
    """Whether a file is what it was when this digest was put into it, wherever that stands."""
    place = data.rfind(digest)
    if place < 0:
        return False
    state = hashlib.sha256(data[:place])
    state.update(BLANK)
    state.update(memoryview(data)[place + 64 :])
    return state.hexdigest().encode() == digest


def json_with_digest(data: bytes) -> bytes:
    """A JSON object, as text, with its digest for a last field.

    Args:
        data: The object, whose last character is its closing brace.
    """
    body = data.rstrip()
    if not body.endswith(b"}"):
        raise ValueError("this is no JSON object")
    body = body[:-1].rstrip()
    return fill_in(body + b',\n "digest": "' + BLANK + b'"\n}')


def json_digest(data: bytes) -> bytes | None:
    """The digest that a JSON object carries, or None if it carries none."""
    found = _TAIL.search(data, max(0, len(data) - _TAIL_LENGTH))
    return found.group(1) if found else None


def has_changed(data: bytes) -> bool:
    """Whether a JSON object is known to be another than was written.

    One of a version that wrote no digests carries none and is not known to have changed.
    """
    digest = json_digest(data)
    if digest is None:
        return _LIKE_TAIL.search(data, max(0, len(data) - _TAIL_LENGTH)) is not None
    return not is_intact(data, digest)
