from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.options import parse_options
from dashboard.text import markdown_text, plot_text


@given(st.text())
def test_markdown_text_leaves_no_sign_with_a_meaning(name: str) -> None:
    shown = markdown_text(name)
    bare = re.sub(r"\\[\\`*_{}\[\]()#+\-.!|<>~:$&^=@/]", "", shown)
    assert not set("`*_{}[]<>~$|\\") & set(bare)
    assert "\n" not in shown


@given(st.text())
def test_plot_text_has_no_tag(name: str) -> None:
    shown = plot_text(name)
    assert "<" not in shown
    assert ">" not in shown


def test_stores_keep_their_order_and_are_named_once() -> None:
    assert parse_options([]).stores == {"runs": "runs"}
    read = parse_options(["--store", "b", "--store", "a", "--store", "b", "--study", "s"])
    assert list(read.stores) == ["b", "a"]
    assert read.study == "s"


def test_a_store_with_a_key_in_its_uri_is_refused_and_not_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(["--store", "s3://SHOWN:HIDDEN@bucket/x"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "AWS_ACCESS_KEY_ID" in error
    assert "HIDDEN" not in error
    assert "SHOWN" not in error
