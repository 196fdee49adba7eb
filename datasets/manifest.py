"""Records of prepared scans and manifests of cohorts: what readers of shards trust.

In the store, ``shards/scans/<scan key>/`` holds a scan's ``slices-<digest>.parquet`` and, written
after it, ``record.json``; ``shards/<cohort key>/manifest.json`` is written last of all and holds
every scan's record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from datasets.identity import digest
from datasets.layout import Kind, kind_of
from datasets.scan import Modality, Role
from datasets.selfdigest import has_changed, json_with_digest
from datasets.settings import PreprocessSettings
from datasets.storage import DamagedFileError, NewerFileError, Storage

SHARD_VERSION = 1
"""Version of the layout of records, manifests and Parquet parts."""


NOT_HEALTHY = "not healthy"
"""What the reasons begin with for which scans with a lesion are kept from training."""


class DamagedManifestError(DamagedFileError):
    """A manifest that cannot be read; the scans' own records are enough to make it again."""


def as_text(text: str) -> str:
    """Bytes of a file name that are no UTF-8, which Python carries as surrogates, spelled out."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")


def _text_or_other(value: object) -> object:
    return as_text(value) if isinstance(value, str) else value


Count = Annotated[int, Field(ge=0, lt=1 << 63)]
"""A number of things, as tables can hold it."""


Text = Annotated[str, BeforeValidator(_text_or_other)]
"""Text that may come from the name of a file."""


_PART = r"^(shards/scans/[0-9a-f]{20}/slices-[0-9a-f]{20}\.parquet)?$"


Ratio = Annotated[float, Field(ge=-1e6, le=1e6)]


class ContrastMeasures(BaseModel):
    """The contrast of one image, from its slices; every figure is a ratio of intensities.

    Attributes:
        border: Median of the brain's border over that of its centre.
        centre: Median of the centre over that of the whole brain.
        bright: 99th percentile of the brain over its median.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    border: Ratio
    centre: Ratio
    bright: Ratio


class ScanRecord(BaseModel):
    """What became of one scan.

    Attributes:
        version: Layout version.
        key: The scan's key, which names its folder.
        status: ``ok``, or ``quarantined`` for a scan that was set aside.
        reason: Why it was set aside; empty if it was not.
        cohort: Name of the cohort.
        role: Of the cohort.
        subject: Subject label.
        session: Session label, or empty.
        modality: One of :data:`datasets.scan.MODALITIES`.
        image: Path of the image as the source found it, for people to read.
        part: Path of the Parquet part in the store; empty if quarantined.
        sha256: Its checksum; empty if quarantined.
        n_slices: Number of slices in it.
        shape: Voxels of the RAS volume.
        spacing_mm: Its voxel size.
        brain_volume_ml: Volume of the brain mask.
        brain_tool: What told the brain, with its version.
        lesion_volume_ml: Volume of the lesion mask; ``None`` if the scan has none.
        lesion_outside_brain_share: Share of lesion voxels outside the brain mask, 0 to 1; ``None``
            without lesion voxels.
        lesion_lost_by_resizing_share: By how much the lesion volume in the slices that were kept
            shrank from voxels to pixels, as a share of the volume before; below 0 if it grew.
            ``None`` without lesion in them, or in a record from before this was measured.
        lesion_in_dropped_slices_share: Share of lesion voxels in slices that were left out, 0 to
            1; ``None`` as above.
        contrast: How bright its tissues are against each other; ``None`` if it was not measured, as
            in a record from before this was.
        notes: What was adjusted, one sentence each.
        wall_s: Seconds it took; no part of any identity.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    version: int = SHARD_VERSION
    key: str
    status: Literal["ok", "quarantined"]
    reason: Text = ""
    cohort: str
    role: Role
    subject: Text
    session: Text
    modality: Modality
    image: Text
    part: Annotated[str, StringConstraints(pattern=_PART)] = ""
    sha256: str = ""
    n_slices: Count = 0
    shape: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    brain_volume_ml: float | None = None
    brain_tool: str = ""
    lesion_volume_ml: float | None = None
    lesion_outside_brain_share: float | None = None
    lesion_lost_by_resizing_share: float | None = None
    lesion_in_dropped_slices_share: float | None = None
    contrast: ContrastMeasures | None = None
    notes: tuple[Text, ...] = ()
    wall_s: float = 0.0


class SubjectInfo(BaseModel):
    """What is known of a subject beside its scans, for strata.

    Attributes:
        subject: Its label.
        site: Where it was scanned; empty if that is not told.
        age: In years, if that is told.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    subject: Text
    site: Text = ""
    age: float | None = None


class FileCounts(BaseModel):
    """What became of the files below a cohort's folders, in all its modalities.

    Attributes:
        below: How many files there are.
        used: Those of scans that are used.
        set_aside: Those of scans that were set aside.
        left_out: All others.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    below: Count
    used: Count
    set_aside: Count
    left_out: Count


class CohortManifest(BaseModel):
    """All scans of one cohort and modality.

    Attributes:
        version: Layout version.
        key: The cohort's key, from :func:`cohort_key`.
        cohort: Name of the cohort.
        modality: Of all its scans.
        role: ``train``, ``test`` or ``healthy``.
        source: Name of the source that listed it.
        synthetic: Whether the scans are made by software; figures from them say so.
        settings: Of preprocessing.
        preprocess_version: Of preprocessing.
        records: Of every scan, quarantined ones included, in the order of the listing.
        skipped: Path and reason of what the source left out; of many files with one reason, the
            first ones.
        stand_for: How many files a path in ``skipped`` stands for, where that is not one.
        files: What became of all files; ``None`` if the source does not count them, or in a
            manifest from before they were counted.
        subjects: What is known of the subjects, of all modalities.
        notes: What a person should know of the cohort, a sentence each.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    version: int = SHARD_VERSION
    key: str
    cohort: str
    modality: Modality
    role: Role
    source: str
    synthetic: bool
    settings: PreprocessSettings
    preprocess_version: int
    records: tuple[ScanRecord, ...]
    skipped: tuple[tuple[Text, Text], ...] = ()
    stand_for: dict[Text, Count] = Field(default_factory=dict)
    files: FileCounts | None = None
    subjects: tuple[SubjectInfo, ...] = ()
    notes: tuple[Text, ...] = ()


M = TypeVar("M", ScanRecord, CohortManifest)


def record_path(key: str) -> str:
    """Where the record of a scan lies in the store."""
    return f"shards/scans/{key}/record.json"


def manifest_path(key: str) -> str:
    """Where the manifest of a cohort lies in the store."""
    return f"shards/{key}/manifest.json"


def cohort_key(cohort: str, modality: Modality, scan_keys: Iterable[str]) -> str:
    """Identity of a cohort's slices of one modality, known before any scan is read.

    Args:
        cohort: Name of the cohort.
        modality: Of its scans.
        scan_keys: Keys of all its scans, in any order.
    """
    return digest({"cohort": cohort, "modality": modality, "scans": sorted(scan_keys)})


def read_record(storage: Storage, key: str) -> ScanRecord | None:
    """The record of a scan that is finished, or ``None`` if it has to be prepared.

    A record that is damaged or of an older version, or whose part is missing, counts as unfinished.

    Raises:
        StorageError: If the store cannot be read, or the record is from a newer version.
    """
    try:
        record = stored_record(storage, key)
    except DamagedManifestError:
        return None
    if record is None or record.version != SHARD_VERSION:
        return None
    if record.part and not storage.exists(record.part):
        return None
    return record


def stored_record(storage: Storage, key: str) -> ScanRecord | None:
    """The record of a scan as it is, whether or not its part is there; ``None`` if there is none.

    Raises:
        DamagedManifestError: If it is damaged or is another scan's.
        NewerFileError: If it is from a newer version.
        StorageError: If it cannot be read.
    """
    path = record_path(key)
    try:
        data = storage.read(path)
    except FileNotFoundError:
        return None
    record = _parsed(ScanRecord, data, path, storage)
    if record.key != key:
        raise _damaged(path, storage, f"it is the record of scan {record.key!r}")
    if record.part and record.part.rpartition("/")[0] != path.rpartition("/")[0]:
        raise _damaged(path, storage, f"it names the slices of another scan, {record.part!r}")
    return record


def write_record(storage: Storage, record: ScanRecord) -> None:
    """Write the record of a scan, after its part.

    Raises:
        StorageError: If it cannot be written.
    """
    _write(storage, record_path(record.key), record)


def write_manifest(storage: Storage, manifest: CohortManifest) -> None:
    """Write the manifest of a cohort, after all its records.

    Raises:
        StorageError: If it cannot be written.
    """
    _write(storage, manifest_path(manifest.key), manifest)


def _write(storage: Storage, path: str, content: ScanRecord | CohortManifest) -> None:
    """Write a file, and remove what was being written beside it when it was interrupted."""
    folder = path.rpartition("/")[0]
    for entry in storage.entries(folder, recursive=False):
        beside = f"{folder}/{entry.path}"
        if kind_of(beside) is Kind.UNFINISHED and not entry.is_folder:
            storage.delete(beside)
    storage.put(path, json_with_digest(content.model_dump_json(indent=1).encode()))


def read_manifest(storage: Storage, key: str) -> CohortManifest | None:
    """The manifest of a cohort, or ``None`` if there is none of this version.

    Raises:
        DamagedManifestError: If it is damaged or names another cohort.
        NewerFileError: If it is from a newer version.
        StorageError: If it cannot be read.
    """
    path = manifest_path(key)
    try:
        data = storage.read(path)
    except FileNotFoundError:
        return None
    manifest = _parsed(CohortManifest, data, path, storage)
    if manifest.version != SHARD_VERSION:
        return None
    keys = [record.key for record in manifest.records]
    if manifest.key != key or cohort_key(manifest.cohort, manifest.modality, keys) != key:
        raise _damaged(path, storage, "it does not describe the scans of its key")
    return manifest


def _parsed(kind: type[M], data: bytes, path: str, storage: Storage) -> M:
    if has_changed(data):
        raise _damaged(path, storage, "its content is not what was written")
    try:
        _refuse_newer(data, path, storage)
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "its text"
        raise _damaged(path, storage, f"{place}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, storage, str(error)) from error


def _damaged(path: str, storage: Storage, reason: str) -> DamagedManifestError:
    return DamagedManifestError(
        f"{path!r} in the store {storage.uri!r} is damaged: {reason}; it is made again by the next "
        "run, or set aside by study.store repair"
    )


def _refuse_newer(data: bytes, path: str, storage: Storage) -> None:
    """Say clearly that a file is from a newer version, before its unknown fields look damaged."""
    content = json.loads(data)
    version = content.get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SHARD_VERSION:
        raise NewerFileError(
            f"{path!r} in the store {storage.uri!r} was written by a newer version of this "
            f"software (layout {version}, this one reads up to {SHARD_VERSION})"
        )
