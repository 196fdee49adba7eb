"""Ctrl-C while a command loads its packages, which takes seconds: a sentence and its status.

Nothing heavy may be imported here: until this is loaded, an interrupt is a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from study.outputs import open_outputs

SENTENCE = "Interrupted."

_STATUS = 130


@contextmanager
def told() -> Iterator[None]:
    """End the process with a sentence and status 130 if it is interrupted in here.

    Standard output and error can be written to in here, even if the shell has closed them.
    """
    open_outputs()
    try:
        yield
    except KeyboardInterrupt:
        print(SENTENCE, file=sys.stderr, flush=True)  # noqa: T201 - study.terminal is not loaded yet
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(_STATUS)  # packages that are half loaded may raise at the end
