"""What reaches a terminal: text as it is, whatever the data says.

Names of cohorts, hosts, folders and stores come from files. A terminal obeys control characters,
and rich reads words in brackets as its markup; so every text goes out through here, where control
characters are written out and no markup is read.
"""

from __future__ import annotations

import math
import sys
import unicodedata
from typing import Any, TextIO, cast

from rich.console import Console
from rich.text import Text

from datasets.uris import without_secrets

WIDE = 320
"""Columns of a console that is no terminal: no table of a dozen test cohorts is folded."""


def shown(text: str) -> str:
    r"""A text with its control characters written out, such as ``\x1b``; lines stay lines."""
    if text.isprintable():
        return text
    return "".join(sign if _is_plain(sign) else _written_out(sign) for sign in text)


def one_line(text: str) -> str:
    """The same in one line."""
    return shown(" ".join(text.split()))


def counted(number: int, noun: str) -> str:
    """How many there are of something, such as ``1 subject`` or ``1,200 subjects``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _is_plain(sign: str) -> bool:
    return sign == "\n" or sign.isprintable() or unicodedata.category(sign) == "Zs"


def _written_out(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


class PlainConsole(Console):
    """A console that shows every string as it is, in tables and titles too.

    What is to look otherwise is a :class:`rich.text.Text`; data in one goes through :func:`shown`.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as rich draws it."""
        plain = {"markup": False, "emoji": False, "highlight": False, "highlighter": None}
        return super().render_str(shown(text), **{**options, **plain})


def new_console() -> PlainConsole:
    """Where results go; wide enough for table 1 where the output is no terminal."""
    out = PlainConsole(highlight=False)
    return out if out.is_terminal else PlainConsole(highlight=False, width=WIDE, no_color=True)


def echo(text: str, *, err: bool = False) -> None:
    """Print a text as it is, its control characters written out, on standard output or error."""
    print(shown(text), file=sys.stderr if err else sys.stdout, flush=True)


def say_aside(sentence: str) -> None:
    """Tell something that is no part of what a command prints."""
    PlainConsole(stderr=True).print(without_secrets(sentence), soft_wrap=True)


def complain(error: Exception) -> None:
    """Tell why a command ends."""
    words = one_line(without_secrets(str(error)))
    PlainConsole(stderr=True).print(f"error: {words}", style="red", soft_wrap=True)


def write_out_what_is_lacking() -> None:
    r"""Let signs that the output's encoding lacks be written out, such as ``\u2014``, not fail."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            cast("Any", cast("TextIO", stream)).reconfigure(errors="backslashreplace")


def duration(seconds: float | None) -> str:
    """Seconds as people say them: ``2 h 05 min``, ``3 min 20 s``, ``12 s``; a dash if unknown."""
    if seconds is None or not math.isfinite(seconds):
        return "—"
    whole = max(0, round(seconds))  # a clock may have gone back
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole} s"
