"""Reading the project's own pages: sections, their tables, blocks of code."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_HEADING = re.compile(r"(#{1,6}) (.*)")


@dataclass
class Block:
    """A fenced block of code.

    Attributes:
        language: What stands behind the opening fence.
        text: The lines between the fences, each with its end.
    """

    language: str
    text: str = ""


@dataclass
class Section:
    """What stands below a heading, up to the next one.

    Attributes:
        level: Number of its ``#``.
        title: The heading's text.
        lines: The lines outside of blocks.
        table: The cells of its table, headings first; empty without one.
        blocks: Its blocks of code.
    """

    level: int
    title: str
    lines: list[str] = field(default_factory=list)
    table: list[list[str]] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def sections(text: str) -> list[Section]:
    """The sections of a page in their order."""
    found = [Section(0, "")]
    block: Block | None = None
    for line in text.splitlines():
        if line.startswith("```"):
            if block is None:
                block = Block(line[3:].strip())
                found[-1].blocks.append(block)
            else:
                block = None
        elif block is not None:
            block.text += f"{line}\n"
        elif heading := _HEADING.fullmatch(line):
            found.append(Section(len(heading[1]), heading[2]))
        else:
            found[-1].lines.append(line)
            if line.startswith("|") and not set(line) <= set("|- "):
                cells = re.split(r"(?<!\\)\|", line.strip("|"))
                found[-1].table.append([cell.strip() for cell in cells])
    return found
