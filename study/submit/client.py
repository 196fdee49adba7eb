"""Ray's job server as this project uses it: every answer in time, every fault a sentence."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from datasets.deadlines import within
from study.errors import UsageError
from study.submit import server
from study.terminal import one_line

ANSWER_S = 30.0
"""How long the server may take for an answer."""

SEND_S = 300.0
"""How long it may take for the code and for beginning a job, which waits for a free process."""

LOOK_S = 30.0
"""After so many seconds without a line of the log, the server is asked whether it is there."""

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Before each try to reach a server again that has been lost."""

STOP_S = 60.0
_LONGEST = 300
_STOP_LOOK_S = 0.5

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

T = TypeVar("T")


class LostError(ConnectionError):
    """A job server that does not answer any more; the message says why."""


class UnknownJobError(UsageError):
    """The job server knows no job of that name."""


@dataclass(frozen=True)
class JobInfo:
    """What the cluster says of a job.

    Attributes:
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        message: Ray's words on it.
        exit_code: Of ``study.run``, if it has ended by itself.
        since: When it began or ended, as ISO 8601; empty if Ray does not say.
    """

    status: str
    message: str
    exit_code: int | None
    since: str

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in _ENDED


class JobServer:
    """A cluster's job server, which answers."""

    def __init__(self, url: str) -> None:
        """Connect.

        Raises:
            UsageError: If the URL cannot be one of a job server.
            ConnectionError: If nobody answers there, or refuses this user.
        """
        server.check_url(url)
        self.url = url.rstrip("/")
        try:
            self._client = self._ask(lambda: server.connect(self.url), ANSWER_S)
        except LostError as error:
            raise LostError(
                f"there is no Ray job server at {self.url!r}, or it does not answer: {error}; "
                "start a cluster, or name its address with --job-server"
            ) from error

    def check_version(self) -> None:
        """Find out whether the cluster has this machine's version of Ray.

        Raises:
            ConnectionError: If it has another one.
        """
        import ray

        there = getattr(self._client, "_server_ray_version", None)
        if there is not None and there != ray.__version__:
            raise ConnectionError(
                f"the cluster at {self.url!r} runs Ray {there}, and this machine has Ray "
                f"{ray.__version__}: both need the version that this project's requirements name"
            )

    def submit(self, job: str, entrypoint: str, code: Path) -> None:
        """Begin a job.

        Args:
            job: Its name, which no other job has.
            entrypoint: Its command line.
            code: Folder that becomes its working directory, and that of its workers.

        Raises:
            ConnectionError: If the cluster does not take it.
        """
        try:
            self._ask(
                lambda: self._client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=job,
                    runtime_env={"working_dir": str(code)},
                ),
                SEND_S,
            )
        except LostError as error:
            raise ConnectionError(f"the cluster at {self.url!r} took no job: {error}") from None

    def info(self, job: str) -> JobInfo:
        """What the cluster says of a job.

        Raises:
            UnknownJobError: If it has none of that name.
            LostError: If the server does not answer.
        """
        return _as_info(self._ask_about(job, lambda: self._client.get_job_info(job)))

    def follow(self, job: str, write: Callable[[str], None]) -> JobInfo:
        """Hand on the log of a job until its end.

        A connection that is cut is made anew a few times, and goes on in the log where it was.

        Args:
            job: Its name.
            write: Takes the log piece by piece.

        Returns:
            How it has ended.

        Raises:
            UnknownJobError: If the cluster has no job of that name, or none any more.
            LostError: If the server is lost and stays so.
        """
        log = _Log(write)
        pauses = iter(PAUSES_S)
        while True:
            before, lost = log.n_seen, "the log has ended, and the job has not"
            try:
                self.info(job)  # a head that was started anew does not know it
                asyncio.run(self._copy_log(job, log))
                found = self.info(job)
                if found.has_ended:
                    return found
            except LostError as error:
                lost = str(error)
            if log.n_seen > before:
                pauses = iter(PAUSES_S)
            pause_s = next(pauses, None)
            if pause_s is None:
                found = self.info(job)
                if found.has_ended:
                    return found  # though its log is lost
                raise LostError(lost)
            time.sleep(pause_s)

    def stop(self, job: str) -> tuple[bool, JobInfo]:
        """Stop a job and wait until it has ended.

        Returns:
            Whether it was still at work, and how it has ended.

        Raises:
            UnknownJobError: If there is no such job.
            ConnectionError: If it does not end.
        """
        before = self.info(job)
        if before.has_ended:
            return False, before
        self._ask_about(job, lambda: self._client.stop_job(job))
        for _ in range(int(STOP_S / _STOP_LOOK_S)):
            found = self.info(job)
            if found.has_ended:
                return True, found
            time.sleep(_STOP_LOOK_S)
        raise ConnectionError(
            f"job {job} was told to stop and has not ended within {STOP_S:g} seconds"
        )

    async def _copy_log(self, job: str, log: _Log) -> None:
        log.rewind()
        async for text in self._pieces(job):
            log.take(text)

    async def _pieces(self, job: str) -> AsyncIterator[str]:
        """The log from its beginning on, until it ends or the server is lost."""
        lines = self._client.tail_job_logs(job)
        pending: asyncio.Future[str] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(anext(lines))
                done, _ = await asyncio.wait({pending}, timeout=LOOK_S)
                if not done:
                    self.info(job)  # the machine may be gone without a word
                    continue
                piece, pending = pending, None
                try:
                    text = piece.result()
                except StopAsyncIteration:
                    return
                except _log_errors() as error:
                    raise LostError(_words(error)) from error
                yield text
        finally:
            if pending is not None:
                pending.cancel()

    def _ask_about(self, job: str, ask: Callable[[], T]) -> T:
        if not _ID.fullmatch(job):
            raise UnknownJobError(f"{job[:128]!r} is no name of a job")
        try:
            return self._ask(ask, ANSWER_S)
        except LostError as error:
            if "status code 404" not in str(error):
                raise
            raise UnknownJobError(f"the cluster at {self.url!r} knows no job {job!r}") from error

    def _ask(self, ask: Callable[[], T], limit_s: float) -> T:
        try:
            return within(limit_s, ask)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise LostError(_words(error)) from error
        except Exception as error:
            if type(error).__name__ != "AuthenticationError":  # Ray's own, which is loaded late
                raise
            raise ConnectionError(server.refusal(self.url, str(error))) from error


class _Log:
    """What was handed on of a log, which every new connection begins anew."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.n_seen = 0
        self._n_read = 0

    def rewind(self) -> None:
        self._n_read = 0

    def take(self, text: str) -> None:
        known = max(0, self.n_seen - self._n_read)
        self._n_read += len(text)
        self.n_seen = max(self.n_seen, self._n_read)
        if text[known:]:
            self._write(text[known:])


def _log_errors() -> tuple[type[Exception], ...]:
    import aiohttp

    return (aiohttp.ClientError, RuntimeError, OSError, asyncio.TimeoutError)


def short(message: str) -> str:
    """The first line of Ray's words and, of a traceback or a log, the last."""
    lines = [one_line(line) for line in message.splitlines() if line.strip()]
    text = " … ".join(lines[:1] if len(lines) < 2 else [lines[0], lines[-1]]).rstrip(".")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _words(error: BaseException) -> str:
    return short(str(error)) or type(error).__name__


def _as_info(details: Any) -> JobInfo:
    status = str(getattr(details.status, "value", details.status))
    stamp_ms = details.end_time if status in _ENDED else details.start_time
    since = datetime.fromtimestamp(stamp_ms / 1000, UTC) if stamp_ms else None
    return JobInfo(
        status=status,
        message=details.message or "",
        exit_code=details.driver_exit_code,
        since=since.isoformat(timespec="seconds") if since else "",
    )
