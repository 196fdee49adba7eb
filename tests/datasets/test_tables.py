"""Tables are read whole, by the thread that asks for them alone."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets.tables import read_table
from tests.commands import ROOT

READING = """
import os, sys
import pyarrow.parquet
from datasets.tables import read_table

data = open(sys.argv[1], "rb").read()
before = set(os.listdir("/proc/self/task"))
for _ in range(3):
    read_table(data)
    read_table(data, ["b", "s"])
print(len(set(os.listdir("/proc/self/task")) - before))
pyarrow.parquet.read_table(pyarrow.BufferReader(data))
print(len(set(os.listdir("/proc/self/task")) - before) > 0)
"""


@pytest.fixture(scope="module")
def data() -> bytes:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=50_000) for name in "abcd"}
    sink = io.BytesIO()
    words = np.repeat(["x", "y"], 25_000)
    pq.write_table(pa.table({**columns, "s": words}), sink, row_group_size=10_000)
    return sink.getvalue()


def test_a_table_and_some_of_its_columns_are_read(data: bytes) -> None:
    expected = pq.read_table(pa.BufferReader(data))
    assert read_table(data).equals(expected)
    assert read_table(data, ["s", "a"]).equals(expected.select(["s", "a"]))


def test_what_is_no_parquet_file_is_an_error(data: bytes) -> None:
    for broken in (b"", b"PAR1", data[:-200], data[:100] + data[300:]):
        with pytest.raises((pa.ArrowException, OSError)):
            read_table(broken)


def test_a_column_that_is_not_there_is_an_error(data: bytes) -> None:
    with pytest.raises(pa.ArrowException, match="no column 'none'"):
        read_table(data, ["a", "none"])


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_no_thread_of_arrow_takes_part(data: bytes, tmp_path: Path) -> None:
    """One that lets go of the bytes while the process ends has it aborted."""
    (tmp_path / "some.parquet").write_bytes(data)
    command = [sys.executable, "-c", READING, str(tmp_path / "some.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["0", "True"]
