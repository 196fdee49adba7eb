from __future__ import annotations

from pathlib import Path

import pytest

from datasets.errors import SourceError
from datasets.participants import condition, read_participants

TABLE = (
    "participant_id\tgroup\tage\tSite\n"
    "sub-a\tcontrol\t34\tGuys\n"
    "sub-b\tpatient\tn/a\tHH\n"
    "c\tcontrol\t89+\t\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "participants.tsv").write_text(TABLE, encoding="utf-8-sig")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "fulfil"),
    [
        ('group == "control"', "ac"),
        ('group != "control"', "b"),
        ("age >= 18", "a"),
        ("18 < age < 40 and site == 'Guys'", "a"),
        ('not (group == "patient")', "ac"),
        ('group in ["patient", "x"] or age == 34.0', "ab"),
        ('group not in ("patient",)', "ac"),
        ("age != 34", "bc"),
        ("age < -1", ""),
        ("GROUP == 'patient'", "b"),
    ],
)
def test_a_condition_chooses_rows(root: Path, text: str, fulfil: str) -> None:
    table = read_participants(root)
    assert table is not None
    test, _ = condition(text)
    assert "".join(s for s in table.rows if test(table.rows[s])) == fulfil


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("group = 'x'", "is no condition"),
        ("", "is no condition"),
        ("group", "compares nothing"),
        ("__import__('os').system('x') == 0", "no column, number or text"),
        ("group == [1]", "no column"),
        ("age is 3", "write '=='"),
        ("age in group", "after 'in' comes a list"),
        ("(" * 500 + "a" + ")" * 500, "at most 500 signs"),
        ("not " * 400 + "a == 1", "at most 500 signs"),
        ("-" * 480 + "a == 1", "no column, number or text"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        condition(text)


def test_site_and_age_are_read(root: Path) -> None:
    table = read_participants(root)
    assert table is not None
    assert [table.site(s) for s in "abcd"] == ["Guys", "HH", "", ""]
    assert [table.age(s) for s in "abcd"] == [34, None, 89, None]


@pytest.mark.parametrize("content", [b"id\tgroup\nsub-a\tx\n", b"", b"\xff\xfe", b"a\0b"])
def test_a_file_that_is_no_table_of_participants_is_a_sentence(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "participants.tsv").write_bytes(content)
    with pytest.raises(SourceError, match=r"participants.tsv (has no column|cannot be read)"):
        read_participants(tmp_path)


def test_a_folder_without_one_has_none(tmp_path: Path) -> None:
    assert read_participants(tmp_path) is None
    assert read_participants(tmp_path / "nowhere") is None


def test_quotes_and_odd_spaces_are_no_part_of_a_value(tmp_path: Path) -> None:
    content = 'participant_id\tgroup\tnote\r\n"sub-a"\t"patient"\tx\x0by\r\nsub-b\tcontrol\t\r\n'
    (tmp_path / "participants.tsv").write_bytes(content.encode())
    table = read_participants(tmp_path)
    assert table is not None
    test, _ = condition('group != "patient"')
    assert [s for s in table.rows if test(table.rows[s])] == ["b"]


def test_two_rows_of_a_subject_that_differ_are_a_sentence(tmp_path: Path) -> None:
    rows = "participant_id\tgroup\nsub-a\tpatient\nsub-a\tcontrol\n"
    (tmp_path / "participants.tsv").write_text(rows)
    with pytest.raises(SourceError, match="two rows of 'a' that say different things"):
        read_participants(tmp_path)


def test_a_number_too_large_for_any_is_no_error(root: Path) -> None:
    test, _ = condition("age > 1" + "0" * 400)
    assert not test({"age": "34"})


def test_none_is_a_value_of_its_own() -> None:
    test, _ = condition('pathology == "none"')
    assert test({"pathology": "none"})
