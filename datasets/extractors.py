"""The tools that remove the skull: deepbet (Fisch 2024) in memory, or FSL's BET (Smith 2002).

Both are fed RAS volumes, whatever the file's axes: deepbet's masks differ in some orientations.
Each has a second way of being run, for heads on which the first fails.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import warnings
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from datasets.errors import ExtractorError, ScanError
from datasets.nifti import Volume, load_mask

Tool = Literal["deepbet", "bet"]

DEEPBET_THRESHOLD = 0.5
"""Voxels that are more probably brain than this are brain: deepbet's own default.

:class:`datasets.deepbet_network.MaskNetwork` knows of no other.
"""

BET_TIMEOUT_S = 900.0
"""BET takes seconds to minutes; robust centring repeats it up to ten times."""

_RELEASE = Path("etc", "fslversion")
_FSL_DEPTH = 4

HEAD_HEIGHT_MM = 190.0
"""A brain and some air lie within this distance below the top of the head; the neck does not."""


def extractor_identity(tool: Tool) -> str:
    """The tool and its version, as it goes into the key of shards; loads no model.

    Raises:
        ExtractorError: If the tool is not there.
    """
    if tool == "deepbet":
        return f"deepbet {version('deepbet')}"
    program = _bet_program()
    folder = _fsl_folder(program)
    if folder is not None:
        release = (folder / _RELEASE).read_text(encoding="utf-8", errors="replace")
        return f"bet {release.strip()}"
    return f"bet {hashlib.sha256(program.read_bytes()).hexdigest()[:12]}"


def run_extractor(tool: Tool, volume: Volume, second: bool = False) -> NDArray[np.bool_]:
    """Make a brain mask of a whole head.

    Args:
        tool: ``deepbet`` or ``bet``.
        volume: The head in RAS.
        second: Use the other settings, after the first failed: deepbet sees only the upper part
            of the head, its bright voxels compressed; BET searches its centre robustly (``-R``)
            at a lower threshold.

    Returns:
        bool mask of the volume's shape.

    Raises:
        ScanError: If the tool finds no brain, fails on this scan or takes too long.
        ExtractorError: If the tool is not there.
    """
    if tool == "bet":
        return _run_bet(volume, ("-R", "-f", "0.4") if second else ("-f", "0.5"))
    if not second:
        return _run_deepbet(volume.data_XYZ)
    box = _upper_head(volume)
    mask_XYZ = np.zeros(volume.data_XYZ.shape, dtype=bool)
    compressed_XYZ = np.sqrt(np.maximum(volume.data_XYZ[box], np.float32(0)))
    mask_XYZ[box] = _run_deepbet(compressed_XYZ)
    return mask_XYZ


@lru_cache(maxsize=1)
def _deepbet() -> Any:
    """The model, loaded once per process; on the GPU where there is one.

    On a CPU its networks are computed sooner where that gives the very same masks.
    """
    with warnings.catch_warnings():
        # torch.jit.load, which deepbet's weights need, announces its end; torch is pinned.
        warnings.simplefilter("ignore", DeprecationWarning)
        from deepbet.bet import BrainExtraction

        model = BrainExtraction()
    if next(model.model.parameters()).device.type == "cpu":
        from datasets.deepbet_network import MaskNetwork

        network = MaskNetwork(model.model)
        if network.has_the_same_sums():
            model.model, model.bbox_model = network, MaskNetwork(model.bbox_model)
    return model


def _run_deepbet(data_XYZ: NDArray[np.float32]) -> NDArray[np.bool_]:
    """What ``BrainExtraction.run`` does to find a mask; it also makes images, for files, of it."""
    model = _deepbet()
    from datasets.deepbet_quantile import PartitionedQuantiles

    try:
        with PartitionedQuantiles():
            brain_XYZ = model.run_model(np.require(data_XYZ, requirements=("C", "W")))
        mask_XYZ = model.postprocess(brain_XYZ > DEEPBET_THRESHOLD)
    except (AssertionError, ValueError, RuntimeError) as error:
        # What deepbet raises when its first, coarse mask is empty or thinner than a voxel; any
        # other error of torch is the machine's, such as a GPU that failed.
        if isinstance(error, RuntimeError) and "sizes should be greater than 0" not in str(error):
            raise
        raise ScanError(f"deepbet finds no brain ({error})") from error
    return np.asarray(mask_XYZ, dtype=bool)


def _upper_head(volume: Volume) -> tuple[slice, slice, slice]:
    """Box around the upper part of the head, without the air around it and the neck below."""
    data_XYZ = volume.data_XYZ
    low, high = np.percentile(data_XYZ[::2, ::2, ::2], (1, 99))
    head_XYZ = data_XYZ > low + 0.15 * (high - low)
    z0, z1 = _span(head_XYZ.sum(axis=(0, 1)))
    z0 = max(z0, z1 - round(HEAD_HEIGHT_MM / volume.spacing_mm[2]))
    upper_XYZ = head_XYZ[:, :, z0:z1]
    x0, x1 = _span(upper_XYZ.sum(axis=(1, 2)))
    y0, y1 = _span(upper_XYZ.sum(axis=(0, 2)))
    return slice(x0, x1), slice(y0, y1), slice(z0, z1)


def _span(profile: NDArray[np.int64]) -> tuple[int, int]:
    """Where a profile rises above 2 % of its peak, half open; all of it if it never does."""
    inside = np.flatnonzero(profile > 0.02 * profile.max())
    if not len(inside):
        return 0, len(profile)
    return int(inside[0]), int(inside[-1]) + 1


def _bet_program() -> Path:
    found = shutil.which("bet")
    if found is None:
        raise ExtractorError(
            "brain extraction with FSL's 'bet' was asked for, but no 'bet' is on the PATH; "
            "install FSL or use brain_extractor = 'deepbet'"
        )
    return Path(found).resolve()


def _fsl_folder(program: Path) -> Path | None:
    """Where FSL is installed: its programs lie in ``bin``, or as wrappers in ``share/fsl/bin``."""
    for folder in program.parents[1:_FSL_DEPTH]:
        if (folder / _RELEASE).is_file():
            return folder
    return None


def _run_bet(volume: Volume, options: tuple[str, ...]) -> NDArray[np.bool_]:
    program = _bet_program()
    with tempfile.TemporaryDirectory(prefix="bet-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        nib.save(nib.Nifti1Image(volume.data_XYZ, volume.affine), folder / "head.nii.gz")
        command = [str(program), str(folder / "head.nii.gz"), str(folder / "brain"), "-m", *options]
        _call(command, folder)
        made = folder / "brain_mask.nii.gz"
        if not made.is_file():
            raise ScanError("'bet' ended without writing a brain mask")
        mask_XYZ, _ = load_mask(made, volume, folder / "head.nii.gz")
    return mask_XYZ


def _call(command: list[str], folder: Path) -> None:
    """Run a program and all it starts, ending them together when the time is over."""
    environment = {**os.environ, "FSLOUTPUTTYPE": "NIFTI_GZ"}
    found = _fsl_folder(Path(command[0]))
    if found is not None:
        # FSL's scripts call each other through it; a PATH alone does not set it.
        environment.setdefault("FSLDIR", str(found))
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise ExtractorError(f"cannot run {command[0]!r}: {error}") from error
    with process:
        try:
            output, _ = process.communicate(timeout=BET_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            raise ScanError(f"'bet' took longer than {BET_TIMEOUT_S:.0f} s") from error
    if process.returncode:
        words = " ".join(output.decode(errors="replace").split())[-300:]
        raise ScanError(f"'bet' failed with exit status {process.returncode}: {words}")
