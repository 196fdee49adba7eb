"""Claim: what a report loads has not grown since an earlier revision."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.earlier import REVISION, ROOT, checkout, is_there
from benchmarks.measurement import Measurement, of_pairs

ROUNDS = 9

_CODE = "import study.report.command"


def measure() -> list[Measurement]:
    if not is_there(REVISION):
        return []
    with tempfile.TemporaryDirectory() as name, checkout(REVISION, Path(name)) as before:
        for tree in (ROOT, before):
            _import_s(tree)  # writes what Python keeps of a source file
        pairs = [(_import_s(ROOT), _import_s(before)) for _ in range(ROUNDS)]
    claim = "loading the report's command, a process of its own"
    return [of_pairs("report_import_vs_before", claim, f"revision {REVISION}", pairs, 0.9)]


def _import_s(tree: Path) -> float:
    """CPU seconds of a process that loads the report's command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([sys.executable, "-c", _CODE], cwd=tree, env=env, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
