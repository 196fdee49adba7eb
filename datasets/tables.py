"""Tables from the bytes of Parquet files, read by the thread that asks for them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq


def read_table(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """A table from the bytes of a Parquet file.

    Arrow's own threads, which ``pyarrow.parquet.read_table`` reads with, let go of Python's bytes a
    moment after the table is there. A process that ends in that moment is aborted (SIGABRT,
    "terminate called without an active exception"), though it has done all that it was to do: on a
    busy machine, one of thirty that read sixty tables.

    Args:
        data: The file.
        columns: Those to read; by default all.

    Raises:
        pyarrow.ArrowException, OSError: If it is no Parquet file, damaged, or lacks a column.
    """
    file = pq.ParquetFile(pa.BufferReader(data))
    lacking = [name for name in columns or () if name not in file.schema_arrow.names]
    if lacking:  # which Arrow would leave out without a word
        raise pa.ArrowKeyError(f"there is no column {lacking[0]!r}")
    return file.read(columns=None if columns is None else list(columns), use_threads=False)


def read_all(file: pq.ParquetFile) -> pa.Table:
    """The table of an open Parquet file; see :func:`read_table`."""
    return file.read(use_threads=False)
