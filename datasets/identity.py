"""Identities: short hashes of what something was made from."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(value: Any) -> str:
    """A 20-digit hexadecimal identity of a JSON value, independent of key order.

    Raises:
        ValueError: If the value holds NaN or infinity, which JSON has not.
        TypeError: If the value is no JSON value.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
