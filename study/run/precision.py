"""Which arithmetic a study's networks compute in: decided once, when the study begins."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from study.records.types import StudyRecord
from trainables.arithmetic import Arithmetic, Precision


@dataclass(frozen=True)
class Decision:
    """A study's arithmetic.

    Attributes:
        precision: The arithmetic.
        words: A sentence that says what was decided, and why.
        warning: A sentence that says what is bad about it, or empty.
    """

    precision: Precision
    words: str
    warning: str = ""


def decide(
    asked: Arithmetic,
    before: StudyRecord | None,
    fast: Callable[[], Collection[Precision]],
) -> Decision:
    """Decide on the arithmetic of a study's networks.

    A study that has begun keeps its own, so that all of its trials compare, unless another one is
    asked for by name.

    Args:
        asked: What the user asked for.
        before: The study's record, if it has begun.
        fast: Gives the faster arithmetic of each machine that trains; asked where it matters.
    """
    kept = before.precision if before is not None else None

    def everywhere() -> Precision:
        return "bfloat16" if set(fast()) == {"bfloat16"} else "float32"

    precision = asked if asked != "auto" else kept or everywhere()
    if asked != "auto":
        words = f"Networks compute in {precision}, as asked for."
    elif kept:
        words = f"Networks compute in {precision}, as when this study began."
    else:
        has = "has" if precision == "bfloat16" else "lacks"
        words = f"Networks compute in {precision}: what trains here {has} bfloat16 instructions."
    return Decision(precision, words, _warning(precision, everywhere, kept))


def _warning(
    precision: Precision, everywhere: Callable[[], Precision], kept: Precision | None
) -> str:
    if kept and kept != precision:
        return (
            f"This study began in {kept}: its networks are trained anew in {precision}, and what "
            "was there stays in the store without being mixed in."
        )
    if precision == "bfloat16" and everywhere() == "float32":
        return (
            "bfloat16 without instructions for it takes some ten times as long as float32; where "
            "that is too slow, begin another study with --precision float32 --study NAME."
        )
    return ""
