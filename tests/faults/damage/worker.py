"""The project's commands, one after another in one process that is ended if it hangs."""

from __future__ import annotations

import importlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


class HangError(RuntimeError):
    """A call that did not come back in time; its process was ended."""


class CrashError(RuntimeError):
    """A call whose process died, or that raised something; the message has the traceback."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Exit status.
        out: What it printed.
        err: The same to the standard error.
        fault: The traceback, if it raised what no command turns into a sentence.
    """

    status: int
    out: str
    err: str
    fault: str = ""


class Worker:
    """Calls functions in a process of its own, which begins when it is first needed.

    Args:
        log: Where its standard error goes.
        address: Of a Ray cluster that it connects to once, if it is to run studies.
    """

    def __init__(self, log: Path, address: str = "") -> None:
        self._log = log
        self._address = address
        self._process: subprocess.Popen[str] | None = None

    def run(self, limit_s: float, module: str, *words: str) -> Ended:
        """Run ``python -m MODULE WORDS...``; errors as :meth:`call`."""
        value = self.call(limit_s, f"{__name__}:run_command", module, *words)
        return Ended(**value)

    def call(self, limit_s: float, function: str, *arguments: str) -> Any:
        """Call ``MODULE:FUNCTION`` and return its value, which has to be JSON.

        Args:
            limit_s: How long it may take.
            function: What to call.
            arguments: Its arguments.

        Raises:
            HangError: If it takes longer.
            CrashError: If it raises anything, or its process dies.
        """
        process = self._running(limit_s)
        assert process.stdin is not None
        process.stdin.write(json.dumps([function, *arguments]) + "\n")
        process.stdin.flush()
        return self._answer(process, limit_s)

    def close(self) -> None:
        """Let the process end."""
        if self._process is None:
            return
        self._process.communicate()  # its input ends
        self._process = None

    def _running(self, limit_s: float) -> subprocess.Popen[str]:
        if self._process is None:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    cwd=ROOT,
                    start_new_session=True,
                )
            if self._address:
                self.call(limit_s, f"{__name__}:connect", self._address)
        return self._process

    def _answer(self, process: subprocess.Popen[str], limit_s: float) -> Any:
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], limit_s)[0]:
            self._end(process)
            raise HangError(f"nothing came back for {limit_s:g} s")
        line = process.stdout.readline()
        if not line:
            self._end(process)
            raise CrashError(f"the process died with {process.returncode}")
        answer = json.loads(line)
        if answer["fault"]:
            raise CrashError(answer["fault"])
        return answer["value"]

    def _end(self, process: subprocess.Popen[str]) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._process = None


def run_command(module: str, *words: str) -> dict[str, Any]:
    """Run ``python -m MODULE WORDS...`` in this process."""
    from study import cli

    app = importlib.import_module(f"{module}.command").app
    out, err, status, fault = io.StringIO(), io.StringIO(), 0, ""
    sys.argv = [f"python -m {module}", *words]
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings(record=True):
        try:
            cli.run(app)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001 - whatever it is, the caller is told
            status, fault = 1, traceback.format_exc()
    return {"status": status, "out": out.getvalue(), "err": err.getvalue(), "fault": fault}


_CONNECTIONS = ExitStack()


def connect(address: str) -> None:
    """Connect this process to a Ray cluster, for all commands to come."""
    from study.cluster import connection

    connection.configure(verbose=False, address=address)
    _CONNECTIONS.enter_context(connection.connected(address, verbose=False))


def _serve() -> None:
    """Answer calls, a line each, until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer
    with _CONNECTIONS:
        for line in sys.stdin:
            value, fault = None, ""
            try:
                name, *arguments = json.loads(line)
                value = _function(name)(*arguments)
            except Exception:  # noqa: BLE001 - the same
                fault = traceback.format_exc()
            answers.write(json.dumps({"value": value, "fault": fault}) + "\n")
            answers.flush()


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


if __name__ == "__main__":
    from tests.faults.damage import worker  # the module that its callers name

    worker._serve()
