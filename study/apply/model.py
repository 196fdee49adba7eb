"""A fitted detector with all that it takes to use it on a scan, as one file.

The file is a ZIP archive of ``model.json``, the weights as safetensors, and the counts of the
healthy subjects that its thresholds are chosen by as Parquet. Nothing in it is executed when it is
read. ``model.json`` has the checksums of the others, and one of itself: they tell damage and
carelessness, and no forgery.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datasets.files import RefusedFileError, read_regular, write_whole
from datasets.identity import digest
from datasets.settings import PREPROCESS_VERSION, PreprocessSettings
from datasets.storage import StorageError, sha256_hex
from datasets.tables import read_table
from study.apply.maps import HealthyPixels
from study.errors import UsageError
from study.report.detection import Subjects
from study.report.thresholds import SubjectCounts, thresholds
from trainables.detector import Detector
from trainables.registry import detector_class
from trainables.spec import TrialSpec

FORMAT = 1
"""Of the file; a reader refuses any other."""

MOST_BYTES = 2**31
"""Of a file that is read, and of what it holds unpacked."""

DESCRIPTION, WEIGHTS, HEALTHY = "model.json", "weights.safetensors", "healthy.parquet"

COUNTS = ["subject", "score", "n_scans", "voxel_ml", "n_positive", "top_mean"]
COUNTS += ["thresholds", "positives", "negatives"]
"""Columns of ``subjects.parquet`` that :data:`HEALTHY` keeps, of the brain's pixels."""


class ModelDescription(BaseModel):
    """``model.json``.

    Attributes:
        format: :data:`FORMAT`.
        study: Name of the study.
        trial_id: Identity of the fit.
        spec: What was fitted.
        version: ``VERSION`` of the detector.
        score: The score that maps show, unless another one is asked for.
        settings: Of preprocessing.
        preprocess_version: Of preprocessing.
        reference: The healthy cohorts that thresholds are chosen by; none where there are none.
        packages: Versions of what it was fitted with.
        git_revision: Of the project, where it is known.
        checksums: SHA-256 of the other files.
        checksum: Digest of all the above.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    study: str
    trial_id: str
    spec: TrialSpec
    version: int
    score: str
    settings: PreprocessSettings
    preprocess_version: int
    reference: tuple[str, ...] = ()
    packages: dict[str, str] = Field(default_factory=dict)
    git_revision: str | None = None
    checksums: dict[str, str] = Field(default_factory=dict)
    checksum: str = ""

    def digest(self) -> str:
        """What :attr:`checksum` has to be."""
        return digest(self.model_dump(mode="json", exclude={"checksum"}))


@dataclass(frozen=True, eq=False)
class AppliedModel:
    """A fitted detector that can be used on scans.

    Attributes:
        description: What it is.
        weights: As safetensors.
        healthy: As Parquet: rows of :data:`COUNTS`, one for each healthy subject and score.
    """

    description: ModelDescription
    weights: bytes
    healthy: bytes

    @cached_property
    def identity(self) -> str:
        """What tells it from other models, and from itself with other thresholds."""
        return self.described().checksum

    @property
    def scores(self) -> tuple[str, ...]:
        """Every score that it has."""
        detector = detector_class(self.description.spec.model)
        return tuple(score.name for score in (*detector.SCORES, *detector.MORE_SCORES))

    def detector(self) -> Detector:
        """The detector, ready to score.

        Raises:
            StorageError: If the weights are not those of its specification.
        """
        import safetensors
        import safetensors.numpy

        try:
            detector = self.description.spec.detector()
            detector.load_state(safetensors.numpy.load(self.weights))
        except (safetensors.SafetensorError, ValueError) as error:
            raise StorageError(f"the model's weights cannot be used: {error}") from error
        return detector

    def counts(self, score: str) -> tuple[SubjectCounts, ...]:
        """Of each healthy subject, how many brain pixels reach a score."""
        rows = self._healthy.filter(pc.equal(self._healthy["score"], score))
        return Subjects.of(rows.combine_chunks()).counts

    def healthy_pixels(self, score: str) -> HealthyPixels | None:
        """The healthy subjects' brain pixels by a score; None where there are none."""
        counts = self.counts(score)
        return HealthyPixels.of(counts) if counts else None

    @cached_property
    def _healthy(self) -> pa.Table:
        return read_table(self.healthy)

    def threshold(self, score: str, share: float) -> float:
        """The score that at most a share of the healthy subjects' brain pixels reaches.

        Raises:
            UsageError: If no healthy subject was kept out of its training.
        """
        counts = self.counts(score)
        if not counts:
            raise UsageError(
                "there are no healthy subjects that a threshold could be chosen by, since none "
                "was kept out of training; give the threshold as a number"
            )
        return float(thresholds(counts, [share])[0])

    def described(self) -> ModelDescription:
        """The description with its checksums."""
        parts = {WEIGHTS: self.weights, HEALTHY: self.healthy}
        checksums = {name: sha256_hex(data) for name, data in parts.items()}
        whole = self.description.model_copy(update={"checksums": checksums, "checksum": ""})
        return whole.model_copy(update={"checksum": whole.digest()})

    def as_bytes(self) -> bytes:
        """The file, always the same of the same model."""
        described = self.described().model_dump_json(indent=1).encode()
        parts = {DESCRIPTION: described, WEIGHTS: self.weights, HEALTHY: self.healthy}
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in parts.items():
                entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, data)
        return out.getvalue()

    def write(self, path: Path) -> None:
        """Write the file; it is there as a whole or not at all.

        Raises:
            UsageError: If its folder is missing or it cannot be written.
        """
        try:
            write_whole(path, self.as_bytes())
        except OSError as error:
            raise UsageError(f"cannot write the model to {path}: {error.strerror}") from error


def read_model(path: Path) -> AppliedModel:
    """Read a file of :meth:`AppliedModel.write`.

    Raises:
        UsageError: If it is none, is damaged or was changed, or is of another version; the message
            names it.
    """
    try:
        data = read_regular(path, MOST_BYTES)
    except (OSError, RefusedFileError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read the model {path}: {why}") from error
    try:
        parts = _unpacked(data)
        content = json.loads(parts[DESCRIPTION])
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise ValueError(f"its format is {found!r}, and this version reads {FORMAT} alone")
        description = ModelDescription.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{path} is no model that this version reads: {_first(error)}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError) as error:
        why = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{path} is no model of study.apply, or is damaged: {why}") from error
    except (NotImplementedError, RuntimeError) as error:  # of zipfile: other packing, a password
        raise UsageError(f"{path} is no model of study.apply: {error}") from error
    _check(path, description, parts)
    return AppliedModel(description, parts[WEIGHTS], parts[HEALTHY])


def _unpacked(data: bytes) -> dict[str, bytes]:
    """The files of the archive that are known, each no larger than may be."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        wanted = {name: entries[name] for name in (DESCRIPTION, WEIGHTS, HEALTHY)}
        if sum(entry.file_size for entry in wanted.values()) > MOST_BYTES:
            raise ValueError("it claims to hold more than 2 GiB")
        found = {}
        for name, entry in wanted.items():
            with archive.open(entry) as stream:
                found[name] = stream.read(entry.file_size + 1)
            if len(found[name]) != entry.file_size:
                raise ValueError(f"{name} is not as long as it claims to be")
        return found


def _check(path: Path, description: ModelDescription, parts: Mapping[str, bytes]) -> None:
    """Refuse what was changed, and what this version of the project would compute otherwise."""
    told = description.checksums
    changed = [n for n in (WEIGHTS, HEALTHY) if sha256_hex(parts[n]) != told.get(n)]
    if description.digest() != description.checksum:
        changed.append(DESCRIPTION)
    if changed:
        raise UsageError(
            f"{path} has been damaged or changed: the checksum of {changed[0]} in it is not the "
            "one that was written with it"
        )
    if description.preprocess_version != PREPROCESS_VERSION:
        raise UsageError(
            f"{path} was trained on slices of preprocessing version "
            f"{description.preprocess_version}; this version makes others "
            f"({PREPROCESS_VERSION}), which it has never seen"
        )
    version = installed(str(path), description.spec).VERSION
    if version != description.version:
        raise UsageError(
            f"{path} is of version {description.version} of the detector "
            f"{description.spec.model!r}, and this installation has version {version}"
        )


def installed(name: str, spec: TrialSpec) -> type[Detector]:
    """The detector of a model.

    Args:
        name: What a message calls the model.
        spec: Its specification.

    Raises:
        UsageError: If it is not installed here, or has other settings.
    """
    try:
        found = detector_class(spec.model)
        spec.typed_params()
    except ValueError as error:
        raise UsageError(f"{name} cannot be used here: {error}") from error
    return found


def _first(error: ValidationError) -> str:
    details: dict[str, Any] = error.errors()[0]  # type: ignore[assignment]
    where = ".".join(str(part) for part in details["loc"])
    return f"{where}: {details['msg']}" if where else str(details["msg"])
