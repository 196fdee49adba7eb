"""Statistics of a study's results that were worked out once, in ``statistics.parquet``.

Each is kept under a digest of the records that it was made of, so that none is taken for that of
records which have changed. The file is a cache: deleting it loses nothing but time.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from datasets.selfdigest import BLANK, fill_in, is_intact
from datasets.storage import StorageError
from datasets.tables import read_all
from study.errors import DamagedError
from study.records.studies import StudyStore

STATISTICS_VERSION = 2
"""Raised whenever the same records give other figures."""

PATH = "statistics.parquet"

ROW_FIELDS = (
    *("auc_low", "auc_high", "average_precision_low", "average_precision_high"),
    *("best_dice_low", "best_dice_high", "subject_auc_low", "subject_auc_high"),
    *("n_with_lesion", "n_effective", "df", "is_approximate"),
)
"""What is kept of a row of results, or of the seeds of a setting."""

CHOICE_FIELDS = ("naive", "selected", "low", "high", "split")
"""What is kept of the choice of the best of some settings."""

TEST_FIELDS = ("is_separated",)
"""What is kept of the tests of a row against all others of its column."""

DIFFERENCE_FIELDS = ("difference", "difference_low", "difference_high", "p")
"""What is kept of the difference of two rows on the same subjects."""

OPERATING_FIELDS = (
    *(
        f"{name}_{percent}"
        for percent in (1, 5, 10)
        for name in (
            *("value", "marked", "marked_sd", "sensitivity", "dice"),
            *("false_positive_ml", "lesions_half", "lesions_any"),
        )
    ),
    *("n_lesions", "slice_auc", "subject_detection_auc"),
)
"""What is kept of a row, or of the false alarms of a fit, at the thresholds of 1, 5 and 10 %."""

_OF_ROWS = (*ROW_FIELDS, *CHOICE_FIELDS, *TEST_FIELDS, *DIFFERENCE_FIELDS)

_DIGEST = b"sha256"
_VERSION = b"statistics_version"

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        *(
            (name, pa.float64())
            for name in (
                *ROW_FIELDS,
                *CHOICE_FIELDS,
                *TEST_FIELDS,
                *DIFFERENCE_FIELDS,
                *OPERATING_FIELDS,
            )
        ),
    ],
    metadata={_VERSION: str(STATISTICS_VERSION).encode()},
)

Kept = dict[str, dict[str, float | None]]


def read_statistics(study: StudyStore) -> Kept:
    """What was kept by its key; nothing of another version, or where it cannot be read."""
    try:
        table = _read(study)
    except (FileNotFoundError, StorageError):
        return {}
    version = (table.schema.metadata or {}).get(_VERSION)
    if version != SCHEMA.metadata[_VERSION] or not table.schema.equals(SCHEMA):
        return {}
    return {row.pop("key"): row for row in table.to_pylist()}


def write_statistics(study: StudyStore, kept: Mapping[str, Mapping[str, float | None]]) -> None:
    """Keep some statistics in place of those that were.

    Raises:
        StorageError: If they cannot be written.
    """
    rows = [{"key": key, **values} for key, values in sorted(kept.items())]
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
        writer.add_key_value_metadata({_DIGEST: BLANK})
    study.storage.put(PATH, fill_in(sink.getvalue()))


def verify_statistics(study: StudyStore) -> None:
    """Find out whether the statistics that are kept are what was written.

    Raises:
        FileNotFoundError: If there are none.
        DamagedError: If they are not.
        StorageError: If they cannot be read.
    """
    _read(study)


def _read(study: StudyStore) -> pa.Table:
    data = study.storage.read(PATH)
    where = f"{study.storage.uri}/{PATH}"
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        table = read_all(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedError(f"{where} is damaged: {error}") from error
    kept = (file.metadata.metadata or {}).get(_DIGEST)
    if kept is None or len(kept) != len(BLANK) or not is_intact(data, kept):
        raise DamagedError(f"{where} is damaged: its content is not what was written")
    return table
