"""What went wrong in a trial, as its record tells it."""

from __future__ import annotations

import traceback

from datasets.uris import without_secrets
from study.records.types import Failure

_NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")

LOST_WORKER = "LostWorkerError"
"""Kind of the failure of a trial whose worker processes were lost again and again."""


def failure_of(error: Exception) -> Failure:
    """An exception with its whole traceback, without any keys of the addresses in them."""
    text = without_secrets("".join(traceback.format_exception(error)))
    message = without_secrets(str(error))
    return Failure(kind=type(error).__name__, message=message, traceback=text)


def lost_worker(reason: str) -> Failure:
    """The end of a trial whose worker was lost also when nothing ran beside it.

    Args:
        reason: What Ray had to say.
    """
    message = "its worker process was lost again and again, the last time with nothing beside it"
    return Failure(kind=LOST_WORKER, message=message, traceback=without_secrets(reason))


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory of the machine or the card was not enough.

    numpy and CUDA have exceptions of their own for it; torch on a CPU has only words.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(s in str(error).lower() for s in _NO_MEMORY)
