"""The address bar as the memory of a view: a link shows what the sender saw.

Every choice has a name. Its value is taken from the address when somebody else wrote it there (a
link, the back button), else from what was chosen last, on whatever page; then it is written to the
address. A value that is not among the options is never used, so an address cannot reach past them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.text import markdown_text

T = TypeVar("T")

_MEMORY = "address memory"
_REPLACED = "address replaced"
_NOTES = "address notes"
_PAGE = "address page"
_ENTERED = "address page is new"
_HEELS_S = 3.0


def _memory() -> dict[str, str]:
    """What was last written to the address, by name."""
    memory: dict[str, str] = st.session_state.setdefault(_MEMORY, {})
    return memory


def widget_key(name: str) -> str:
    """The key of the widget of a choice."""
    return f"choice {name}"


def _from_address(name: str, shown: str | None) -> str | None:
    """What the address says, if somebody other than this session wrote it.

    A run that follows on the heels of another still has the address from before that one. What was
    written there a moment ago is therefore no news, nor is anything against what the widget shows
    if its user has just changed it.

    Args:
        name: Name of the choice.
        shown: What its widget shows, as the address would have it; None without a widget.
    """
    told: str | None = st.query_params.get(name)
    written = _memory().get(name)
    if told == written or (None not in (shown, written) and shown != written):
        return None
    replaced_s = _replaced(name).get(told or "")
    if replaced_s is not None and time.monotonic() - replaced_s < _HEELS_S:
        return None
    return told


def _replaced(name: str) -> dict[str, float]:
    """What this session wrote to the address before, and when something else took its place."""
    everything: dict[str, dict[str, float]] = st.session_state.setdefault(_REPLACED, {})
    return everything.setdefault(name, {})


def _write(name: str, text: str | None) -> None:
    """Write a choice to the address; None takes it out."""
    before = _memory().pop(name, None)
    if before is not None and before != text:
        now, replaced = time.monotonic(), _replaced(name)
        for old in [t for t, when in replaced.items() if now - when > _HEELS_S]:
            del replaced[old]
        replaced[before] = now
    if text is not None:
        _memory()[name] = text
        if st.query_params.get(name) != text:
            st.query_params[name] = text
    elif name in st.query_params:
        del st.query_params[name]


def _show(key: str, value: object) -> None:
    """Set a widget, if it is a new page's or shows something else.

    What is set anew overrules the move that a user makes meanwhile, so nothing is without need.
    """
    new = st.session_state.get(_ENTERED, False)
    if new or key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def begin_run(notes: DeltaGenerator, page: str) -> None:
    """Begin a run of a page.

    Args:
        notes: Where to say that the address asks for something that is not there.
        page: Name of the page; its widgets are new if it is another than before.
    """
    st.session_state[_NOTES] = notes
    st.session_state[_ENTERED] = st.session_state.get(_PAGE) != page
    st.session_state[_PAGE] = page


def end_run() -> None:
    """End a run of a page: all its widgets are there."""
    st.session_state[_ENTERED] = False


def _refuse(name: str, told: str) -> None:
    notes: DeltaGenerator = st.session_state[_NOTES]
    shown = markdown_text(told if len(told) <= 60 else f"{told[:60]}…")
    notes.warning(
        f"The address asks for {markdown_text(name)} “{shown}”, which is not here.",
        icon=":material/link_off:",
    )


def prepare(name: str, options: Sequence[T], default: T, encode: Callable[[T], str] = str) -> str:
    """Give a choice its value before its widget is made; returns the widget's key.

    Args:
        name: Name of the choice in the address.
        options: What may be chosen; not empty.
        default: The choice when nobody has said anything.
        encode: How an option is written in the address.
    """
    key = widget_key(name)
    by_text = {encode(option): option for option in options}
    remembered = _memory().get(name, "")
    chosen = st.session_state.get(key)
    told = _from_address(name, encode(cast("T", chosen)) if chosen in options else None)
    if told is not None and told in by_text:
        chosen = by_text[told]
    elif chosen not in options:
        chosen = by_text.get(remembered, default)
    _show(key, chosen)
    if told is not None and told not in by_text:
        _refuse(name, told)
    return key


def keep(name: str, value: T, encode: Callable[[T], str] = str) -> T:
    """Write a choice to the address and return it."""
    _write(name, encode(value))
    return value


def select(
    label: str,
    name: str,
    options: Sequence[T],
    *,
    default: T | None = None,
    encode: Callable[[T], str] = str,
    show: Callable[[T], str] = str,
    **layout: Any,
) -> T:
    """A select box whose value lives in the address.

    Args:
        label: What the choice is called on the page.
        name: Its name in the address.
        options: What may be chosen; not empty.
        default: The first option unless given.
        encode: How an option is written in the address.
        show: How an option is shown; select boxes show it as text.
        **layout: Passed to Streamlit: ``help``, ``width``, ``label_visibility``.
    """
    first = options[0] if default is None or default not in options else default
    key = prepare(name, options, first, encode)
    value = st.selectbox(label, options, key=key, format_func=show, **layout)
    return keep(name, value if value is not None else first, encode)


def segmented(
    label: str,
    name: str,
    options: Sequence[str],
    *,
    default: str | None = None,
    show: Callable[[str], str] = str,
    **layout: Any,
) -> str:
    """A row of buttons of which one is pressed, whose value lives in the address.

    ``show`` may use Markdown, so names of a store must be escaped by it.
    """
    first = options[0] if default is None or default not in options else default
    key = prepare(name, options, first)
    value = st.segmented_control(label, options, key=key, format_func=show, required=True, **layout)
    return keep(name, value or first)


def toggle(label: str, name: str, *, default: bool = False, **layout: Any) -> bool:
    """A switch whose value lives in the address.

    As long as the default is chosen nothing is written, so that it may change with the study.
    """

    def encode(on: bool) -> str:
        return "1" if on else "0"

    follows = f"{widget_key(name)} follows"
    shown = st.session_state.get(widget_key(name))
    if shown is not None and shown == st.session_state.get(follows) and shown != default:
        st.session_state[widget_key(name)] = default
    key = prepare(name, (False, True), default, encode)
    on = st.toggle(label, key=key, **layout)
    st.session_state[follows] = on if on == default else None
    _write(name, None if on == default else encode(on))
    return on


def many(
    label: str,
    name: str,
    options: Sequence[str],
    *,
    default: Sequence[str],
    show: Callable[[str], str] = str,
    **layout: Any,
) -> list[str]:
    """A choice of several options, written to the address with commas between.

    As long as the default is chosen nothing is written, so that it may change with the study.
    """
    key, follows = widget_key(name), f"{widget_key(name)} follows"
    known = set(options)
    memory = _memory().get(name)
    told = _from_address(name, ",".join(st.session_state[key]) if key in st.session_state else None)
    if told is not None:
        wanted = [text for text in told.split(",") if text]
        for text in wanted:
            if text not in known:
                _refuse(name, text)
    elif key in st.session_state and st.session_state.get(follows) != st.session_state[key]:
        wanted = st.session_state[key]
    else:
        wanted = memory.split(",") if memory else list(default)
    _show(key, [text for text in wanted if text in known] or list(default))
    chosen: list[str] = st.multiselect(label, options, key=key, format_func=show, **layout)
    is_default = chosen == list(default)
    st.session_state[follows] = chosen if is_default else None
    _write(name, None if is_default else ",".join(chosen))
    return list(chosen)


def slider(label: str, name: str, low: float, high: float, default: float, **layout: Any) -> float:
    """A slider over a range of numbers, written to the address with six digits.

    The number that the page uses is the one in the address, so that a link gives the same figures.
    """
    key = widget_key(name)
    value = st.session_state.get(key)
    told = _from_address(name, f"{value:.6g}" if value is not None else None)
    if told is not None:
        try:
            value = float(told)
        except ValueError:
            _refuse(name, told)
    elif value is None and name in _memory():
        value = float(_memory()[name])
    if value is None or not low <= value <= high:
        value = default
    _show(key, float(value))
    chosen = st.slider(label, low, high, key=key, step=(high - low) / 400, **layout)
    text = f"{chosen:.6g}"
    _write(name, text)
    return float(text)


def link(**changes: str) -> dict[str, str]:
    """The address's state with some changes: what a link to another page must carry along."""
    return {**_memory(), **changes}
