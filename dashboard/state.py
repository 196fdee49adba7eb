"""Choices that live in the address, so that a link shows what its sender saw.

Streamlit binds a widget to a parameter of the address: what is chosen is written there, and what a
link says is chosen. What it lacks is here. A choice is remembered from page to page, a default may
change with the study as long as nobody has chosen, and a link that asks for what is not there is
told so. A choice of a page has the page's name in the address, since Streamlit forgets what is
bound under one name on two pages when the button Back leads from one to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.text import markdown_text

T = TypeVar("T", bound=Hashable)

_MEMORY = "choices remembered"
_DEFAULTS = "choices by default"
_NOTES = "choices refused"
_PAGE = "page shown"
_ENTERED = "page is new"

ABOVE_EVERY_PAGE = ("store", "study")

BIND: Any = "query-params"


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


def refuse(name: str, told: str) -> None:
    """Say that the address asks for something that is not there."""
    notes: DeltaGenerator = st.session_state[_NOTES]
    shown = markdown_text(told if len(told) <= 60 else f"{told[:60]}…")
    notes.warning(
        f"The address asks for {markdown_text(name)} “{shown}”, which is not here.",
        icon=":material/link_off:",
    )


def key(name: str, page: str | None = None) -> str:
    """What a choice is called in the address, and the key of its widget.

    Args:
        name: Name of the choice; those above every page are called by it alone.
        page: The page that has it; the one that is running unless given.
    """
    if name in ABOVE_EVERY_PAGE:
        return name
    return f"{page or st.session_state[_PAGE]}.{name}"


def go(page: str, **chosen: Any) -> None:
    """Leave for another page with choices made there; a link would begin a session anew.

    Args:
        page: Name of the page.
        **chosen: Choices of that page, as options.
    """
    for name, value in chosen.items():
        st.session_state.setdefault(_MEMORY, {})[name] = value
        st.session_state[key(name, page)] = value
    st.switch_page(f"views/{page}.py", query_params={})


def _told(name: str) -> list[str]:
    """What the address says of a choice that has not been made in this session; else nothing."""
    if _is_chosen(name):
        return []
    return [text for text in st.query_params.get_all(key(name)) if text]


def _is_chosen(name: str) -> bool:
    return key(name) in st.session_state and not st.session_state.get(_ENTERED, False)


def _prepare(
    name: str, default: object, fits: Callable[[Any], bool], write: Callable[[Any], Any]
) -> None:
    """Give a choice the value that was chosen on another page, or its new default.

    Args:
        name: Name of the choice.
        default: The choice when nobody has chosen.
        fits: Whether a value may be chosen here.
        write: How a value is written in the address.
    """
    defaults = st.session_state.setdefault(_DEFAULTS, {})
    memory = st.session_state.setdefault(_MEMORY, {})
    before = defaults.get(key(name), default)
    defaults[key(name)] = default
    if _is_chosen(name):
        shown = st.session_state[key(name)]
        shown = tuple(shown) if isinstance(shown, list) else shown
        if before != default and shown == before:
            st.session_state[key(name)] = default
    elif name in memory and not st.query_params.get_all(key(name)) and fits(memory[name]):
        _choose(name, memory[name], write)


def _choose(name: str, value: object, write: Callable[[Any], Any]) -> None:
    """Choose for a widget that has not been drawn; the address is told, as Streamlit does not."""
    st.query_params[key(name)] = write(value)
    st.session_state[key(name)] = value


def _remember(name: str, value: T, default: object) -> T:
    """Keep a choice for the other pages; what nobody chose is not kept."""
    memory = st.session_state[_MEMORY]
    if value == default:
        memory.pop(name, None)
    else:
        memory[name] = value
    return value


def select(
    label: str,
    name: str,
    options: Sequence[T],
    *,
    default: T | None = None,
    show: Callable[[T], str] = str,
    read: Callable[[str], T | None] | None = None,
    written: bool = False,
    **layout: Any,
) -> T:
    """A select box whose value lives in the address.

    Args:
        label: What the choice is called on the page.
        name: Its name in the address.
        options: What may be chosen; not empty.
        default: The first option unless given.
        show: How an option is shown, and written in the address; unique texts.
        read: Finds the option that an address means which does not have its text, or None.
        written: Whether the address has it even where nobody has chosen: for what a link must name,
            since the default moves.
        **layout: Passed to Streamlit: ``help``, ``width``, ``label_visibility``.
    """
    first = options[0] if default is None or default not in options else default
    known = set(options)
    told = _told(name)
    if told and told[-1] not in {show(option) for option in options}:
        meant = read(told[-1]) if read is not None else None
        if meant in known:
            st.session_state[key(name)] = meant
        else:
            refuse(name, told[-1])
        told = []
    _prepare(name, first, known.__contains__, show)
    if written and not told and st.session_state.get(key(name)) not in known:
        if key(name) in st.session_state:
            st.session_state[key(name)] = first
        else:
            _choose(name, first, show)
    if written and key(name) in st.session_state and not st.query_params.get_all(key(name)):
        st.session_state[key(name)] = st.session_state[key(name)]  # has it written once more
    value = st.selectbox(
        label,
        options,
        index=None if written else list(options).index(first),
        key=key(name),
        format_func=show,
        bind=BIND,
        required=written,
        **layout,
    )
    value = first if value is None else value
    return _remember(name, value, None if written else first)


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
    told = _told(name)
    if told and told[-1] not in {show(option) for option in options}:
        refuse(name, told[-1])
    _prepare(name, first, set(options).__contains__, show)
    if st.session_state.get(key(name), first) not in options:
        st.session_state[key(name)] = first
    value = st.segmented_control(
        label,
        options,
        key=key(name),
        default=first,
        format_func=show,
        required=True,
        bind=BIND,
        **layout,
    )
    return _remember(name, value or first, first)


def toggle(label: str, name: str, *, default: bool = False, **layout: Any) -> bool:
    """A switch whose value lives in the address.

    The default may change with the study; it is followed until somebody chooses.
    """
    _prepare(name, default, (True, False).__contains__, lambda on: str(on).lower())
    return _remember(name, st.toggle(label, default, key=key(name), bind=BIND, **layout), default)


def many(
    label: str,
    name: str,
    options: Sequence[str],
    *,
    default: Sequence[str],
    show: Callable[[str], str] = str,
    **layout: Any,
) -> list[str]:
    """A choice of several options, whose values live in the address.

    The default may change with the study; it is followed until somebody chooses.
    """
    texts = {show(option) for option in options}
    for text in _told(name):
        if text not in texts:
            refuse(name, text)
    first = tuple(default)
    known = set(options)
    if key(name) in st.session_state and not known.issuperset(st.session_state[key(name)]):
        there = [option for option in st.session_state[key(name)] if option in known]
        st.session_state[key(name)] = there or list(first)
    _prepare(name, first, known.issuperset, lambda chosen: [show(one) for one in chosen])
    chosen = st.multiselect(
        label, options, list(first), key=key(name), format_func=show, bind=BIND, **layout
    )
    return list(_remember(name, tuple(chosen), first))


def slider(label: str, name: str, low: float, high: float, default: float, **layout: Any) -> float:
    """A slider over a range of numbers, whose value lives in the address."""
    for text in _told(name)[-1:]:
        try:
            fits = low <= float(text) <= high
        except ValueError:
            fits = False
        if not fits:
            refuse(name, text)
    _prepare(name, default, lambda value: low <= value <= high, str)
    if not low <= st.session_state.get(key(name), default) <= high:
        st.session_state[key(name)] = default
    step = (high - low) / 400
    value = st.slider(label, low, high, default, step=step, key=key(name), bind=BIND, **layout)
    return float(_remember(name, value, default))
