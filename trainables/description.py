"""What a detector says of itself to people: its label, its scores, the settings they compare.

Everything that prints or draws a model reads it here: the report, the dashboard, the dry run. A
study keeps the descriptions of its models, so that it can be read where a plug-in is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

LAST_PLACE = 1000
"""The place in tables of a model that names none."""

Value: TypeAlias = bool | int | float | str | None

Order: TypeAlias = tuple[tuple[int, float, str], ...]
"""What settings of a model are sorted by."""


@dataclass(frozen=True)
class Score:
    """A score of a detector.

    Attributes:
        name: The key of its map, as the store has it.
        label: What people read in tables, such as ``squared error (SE)``; by default the name.
        symbol: The same in legends, such as ``SE``; by default the label.
        colour: CSS colour of its curves; by default one is chosen by its position.
        dash: Plotly's dash of its curves, where a colour is given.
        width_px: Width of its curves.
    """

    name: str
    label: str = ""
    symbol: str = ""
    colour: str = ""
    dash: str = "solid"
    width_px: float = 2.0


@dataclass(frozen=True)
class Setting:
    """A setting of a detector that people compare.

    Attributes:
        name: The field of the detector's ``Params``.
        symbol: What people read for it, such as ``N_c``; by default the name.
        label: What it is, for an axis; may be empty.
        scale: ``log`` where steps are factors; such values are listed from the largest down.
        is_aside: Whether only table 1 tells it, beside the others; it is no axis.
        default: The value of fits that were made before there was such a setting; taken from
            ``Params``.
    """

    name: str
    symbol: str = ""
    label: str = ""
    scale: Literal["linear", "log"] = "linear"
    is_aside: bool = False
    default: Value = None

    @property
    def title(self) -> str:
        """For an axis: symbol and label."""
        symbol = self.symbol or self.name
        return f"{symbol} ({self.label})" if self.label else symbol


@dataclass(frozen=True)
class DetectorInfo:
    """The description of a detector.

    Attributes:
        label: What people read for the model.
        short_label: The same in legends.
        place: Where it stands in tables; of equal ones by name.
        scores: Its scores, in the order of tables; those last that have to be asked for.
        settings: The settings that people compare, in the order they are told; None if the
            detector is not installed and nothing is known of it.
        defaults: All of its settings that have a default, with that, as JSON has it: what is left
            out of an identity. None if nothing is known of them.
        version: The detector's ``VERSION``; None if it is not known.
    """

    label: str
    short_label: str
    place: int = LAST_PLACE
    scores: tuple[Score, ...] = ()
    settings: tuple[Setting, ...] | None = ()
    defaults: dict[str, Any] | None = None
    version: int | None = None

    def chosen(self, params: Mapping[str, Any]) -> ChosenSetting:
        """The setting that a specification's ``params`` stand for.

        Of a detector that nothing is known of, all plain values are told by their names.
        """
        if self.settings is not None:
            values = ((s, params.get(s.name, s.default)) for s in self.settings)
            return ChosenSetting(tuple((s, v) for s, v in values if v is not None))
        plain = {k: v for k, v in params.items() if isinstance(v, bool | int | float | str)}
        return ChosenSetting(tuple((Setting(k), v) for k, v in plain.items()), has_names=True)

    @property
    def axes(self) -> tuple[Setting, ...]:
        """The settings that a grid of the model varies."""
        return tuple(s for s in self.settings or () if not s.is_aside)


@dataclass(frozen=True)
class ChosenSetting:
    """The values of the settings that people compare.

    Attributes:
        values: Each setting with its value.
        has_names: Whether several values are told with their names.
    """

    values: tuple[tuple[Setting, Value], ...] = ()
    has_names: bool = False

    @property
    def text(self) -> str:
        """What people read: ``(8, 64)``, ``λ 0.001``, ``blur 2``, or nothing."""
        told = [(s, v) for s, v in self.values if not s.is_aside]
        if len(told) > 1 and not self.has_names:
            return f"({', '.join(value_text(v) for _, v in told)})"
        return ", ".join(_named(s, v) for s, v in told)

    @property
    def table_text(self) -> str:
        """The same as table 1 prints it, with what is told aside: ``λ 0.001, N_z 4``."""
        aside = (_named(s, v) for s, v in self.values if s.is_aside)
        return ", ".join(part for part in (self.text, *aside) if part)

    @property
    def order(self) -> Order:
        """What settings of a model are sorted by."""
        return tuple(_order(s, v) for s, v in self.values)

    def as_dict(self) -> dict[str, Value]:
        """The values by the names of their settings."""
        return {setting.name: value for setting, value in self.values}

    def by_symbol(self, symbol: str) -> Value:
        """The value of the setting with that symbol, or None."""
        return next((v for s, v in self.values if s.symbol == symbol), None)


def value_text(value: Value) -> str:
    """A value of a setting as people read it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def value_order(value: Value) -> tuple[int, float, str]:
    """What values of a setting are sorted by: numbers by size, then texts."""
    if isinstance(value, str) or value is None:
        return (1, 0.0, str(value))
    return (0, float(value), "")


def _named(setting: Setting, value: Value) -> str:
    return f"{setting.symbol or setting.name} {value_text(value)}"


def _order(setting: Setting, value: Value) -> tuple[int, float, str]:
    kind, number, text = value_order(value)
    return (kind, -number if setting.scale == "log" else number, text)
