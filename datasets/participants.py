"""``participants.tsv`` of a BIDS folder: who is a control, and where and at what age scanned.

A condition such as ``group == "control" and age >= 18`` chooses subjects. It knows the columns,
numbers, texts and lists of them, comparisons, ``in``, ``and``, ``or`` and ``not``; a value that is
missing (empty, ``n/a``, ``nan``) fulfils no comparison but ``!=``.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets.errors import SourceError
from datasets.files import read_regular

FILE = "participants.tsv"
_MOST_BYTES = 1 << 26
MOST_SIGNS = 500
"""A longer condition could be nested more deeply than it can be followed."""

_MISSING = frozenset({"", "n/a", "na", "nan"})
_SITES = ("site", "site_id", "centre", "center", "institution", "scanner_site", "acq_site")
_AGES = ("age", "age_years", "age_at_scan", "participant_age")
GROUPS = ("group", "diagnosis", "dx", "dx_group", "participant_group", "patient_group", "cohort")
"""Columns that may tell patients from controls."""

Value = str | float | None
_Test = Callable[[Mapping[str, str]], bool]
_COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True)
class Participants:
    """The rows of a table of participants.

    Attributes:
        path: The table.
        columns: Their names, in lower case.
        rows: By the subject's label without ``sub-``: its values by column.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]

    def site(self, subject: str) -> str:
        """Where a subject was scanned; empty if that is not told."""
        return next((text for name in _SITES if (text := self._text(subject, name))), "")

    def age(self, subject: str) -> float | None:
        """A subject's age in years (``89+`` is 89); ``None`` if that is not told."""
        for name in _AGES:
            number = _number(self._text(subject, name).rstrip("+"))
            if number is not None and 0 <= number < 130:
                return number
        return None

    def groups(self, subjects: frozenset[str]) -> dict[str, dict[str, int]]:
        """How many of some subjects have each value, of columns that tell groups apart."""
        found: dict[str, dict[str, int]] = {}
        for name in self.columns:
            if name in GROUPS:
                counts: dict[str, int] = {}
                for subject in sorted(subjects):
                    text = self._text(subject, name)
                    if text:
                        counts[text] = counts.get(text, 0) + 1
                found[name] = counts
        return found

    def _text(self, subject: str, column: str) -> str:
        text = self.rows.get(subject, {}).get(column, "")
        return "" if text.lower() in _MISSING else text


def read_participants(root: Path) -> Participants | None:
    """Read the table of a folder; ``None`` if it has none.

    Raises:
        SourceError: If it cannot be read or has no column ``participant_id``.
    """
    path = root / FILE
    try:
        text = read_regular(path, _MOST_BYTES).decode("utf-8-sig")
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        rows = [[_plain(cell) for cell in line.split("\t")] for line in lines if line]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as a table: {error}") from error
    columns = tuple(name.lower() for name in rows[0]) if rows else ()
    if "participant_id" not in columns:
        raise SourceError(f"{path} has no column participant_id")
    found: dict[str, dict[str, str]] = {}
    for row in rows[1:]:
        values = dict(zip(columns, row, strict=False))
        subject = values.get("participant_id", "").removeprefix("sub-")
        if subject and found.setdefault(subject, values) != values:
            raise SourceError(f"{path} has two rows of {subject!r} that say different things")
    return Participants(path, columns, found)


def _plain(cell: str) -> str:
    """A cell without the spaces and the quotes around it."""
    cell = cell.strip()
    quoted = len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "\"'"
    return cell[1:-1].strip() if quoted else cell


def condition(text: str) -> tuple[_Test, frozenset[str]]:
    """A condition on the values of a row, and the columns it looks at.

    Raises:
        ValueError: If it is none; the message says what is wrong.
    """
    if len(text) > MOST_SIGNS:
        raise ValueError(f"a condition has at most {MOST_SIGNS} signs, and this one {len(text)}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{text!r} is no condition such as 'group == \"control\"'") from error
    columns = frozenset(n.id.lower() for n in ast.walk(tree) if isinstance(n, ast.Name))
    return _test(tree.body), columns


def _test(node: ast.expr) -> _Test:
    if isinstance(node, ast.BoolOp):
        parts = [_test(value) for value in node.values]
        every = all if isinstance(node.op, ast.And) else any
        return lambda row: every(part(row) for part in parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _test(node.operand)
        return lambda row: not inner(row)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        tests = [
            _comparison(left, kind, right)
            for left, kind, right in zip(sides, node.ops, sides[1:], strict=False)
        ]
        return lambda row: all(test(row) for test in tests)
    raise ValueError(f"{ast.unparse(node)!r} compares nothing")


def _comparison(left: ast.expr, kind: ast.cmpop, right: ast.expr) -> _Test:
    one = _value(left)
    if isinstance(kind, ast.In | ast.NotIn):
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            raise ValueError(f"after 'in' comes a list, not {ast.unparse(right)!r}")
        options = [_value(item) for item in right.elts]
        wanted = isinstance(kind, ast.In)
        return lambda row: any(_equal(one(row), o(row)) for o in options) is wanted
    other = _value(right)
    if isinstance(kind, ast.Eq | ast.NotEq):
        equal = isinstance(kind, ast.Eq)
        return lambda row: _equal(one(row), other(row)) is equal
    compare = _COMPARISONS.get(type(kind))
    if compare is None:
        raise ValueError("'is' is no comparison here: write '=='")

    def ordered(row: Mapping[str, str]) -> bool:
        a, b = _number(one(row)), _number(other(row))
        return a is not None and b is not None and compare(a, b)

    return ordered


def _value(node: ast.expr) -> Callable[[Mapping[str, str]], Value]:
    if isinstance(node, ast.Name):
        column = node.id.lower()

        def cell(row: Mapping[str, str]) -> Value:
            text = row.get(column, "")
            return None if text.lower() in _MISSING else text

        return cell
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _number(_value(node.operand)({}))
        if number is not None:
            return lambda row: -number
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
        constant = node.value
        return lambda row: constant
    raise ValueError(f"{ast.unparse(node)!r} is no column, number or text")


def _number(value: Value) -> float | None:
    try:
        return None if value is None else float(value)
    except (ValueError, OverflowError):
        return None


def _equal(one: Value, other: Value) -> bool:
    if one is None or other is None:
        return False
    a, b = _number(one), _number(other)
    return a == b if a is not None and b is not None else str(one) == str(other)
