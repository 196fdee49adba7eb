"""Tables and arrays as the bytes of a part, and back; nothing here can hold code."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import safetensors.numpy

from datasets.storage import StorageError
from trainables.detector import State


def table_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file, zstd compressed."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def state_bytes(state: State) -> bytes:
    """Named arrays as a safetensors file."""
    # not ascontiguousarray: that gives a single number a dimension
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    data: bytes = safetensors.numpy.save(arrays)
    return data


def read_state(data: bytes) -> State:
    """Named arrays from a safetensors file.

    Raises:
        StorageError: If the bytes are no safetensors file.
    """
    try:
        state: State = safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise StorageError(f"a part is no safetensors file: {error}") from error
    return state
