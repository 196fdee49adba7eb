"""A bucket of an S3 server in this process, which this machine and a namespace both reach."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from datasets.storage import Storage

KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What a client of it has in its environment."""

_CLONE_NEWNET = 0x40000000

Application = Callable[..., Any]


class Moment:
    """The moment when a machine has written a file to the bucket.

    Something is done then, before that machine learns that the file is written.

    Args:
        key: Pattern of the file's whole name in the bucket.
        do: What is done, once; it is given the machine's address.
        after: Pattern of a file that the same machine has to have written before.
        skip: How many such files are let pass before.
    """

    def __init__(
        self, key: str, do: Callable[[str], None], after: str | None = None, skip: int = 0
    ) -> None:
        self._key, self._do, self._skip = re.compile(key), do, skip
        self._after = after and re.compile(after)
        self._ready: set[str] = set()
        self._lock, self._done = threading.Lock(), threading.Event()
        self.match: re.Match[str] | None = None
        self.address = ""

    def look(self, key: str, address: str) -> None:
        """Told of every file when it is written."""
        match = self._key.fullmatch(key)
        with self._lock:
            if self._after is None or self._after.fullmatch(key):
                self._ready.add(address)
            if match is None or address not in self._ready or self.match is not None:
                return
            self._skip -= 1
            if self._skip >= 0:
                return
            self.match, self.address = match, address
        self._do(address)
        self._done.set()

    @property
    def has_come(self) -> bool:
        """Whether it has come, and all is done then."""
        return self._done.is_set()


class Bucket:
    """The server, at work between ``with`` and its end; its content is this process's memory.

    Args:
        namespace: Name of a network namespace.
        address: Of this machine there.
    """

    def __init__(self, namespace: str, address: str) -> None:
        self._namespace, self._address = namespace, address
        self._moments: list[Moment] = []
        self._exits = ExitStack()

    def __enter__(self) -> Bucket:
        with ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            for name, value in KEYS.items():
                patch.setenv(name, value)
            logging.getLogger("werkzeug").setLevel(logging.ERROR)
            application = self._watched(DomainDispatcherApplication(create_backend_app))
            self._here = _serve(stack, application, _listening("127.0.0.1"))
            there = _listening_in(self._namespace, self._address)
            self._there = _serve(stack, application, there)
            storage = Storage.open(f"{self.uri_here('x')}&allow_bucket_creation=true")
            storage.filesystem.create_dir("bucket")
            self._exits = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()

    def at(self, moment: Moment) -> Moment:
        """Do something when a file has been written."""
        self._moments.append(moment)
        return moment

    def _watched(self, application: Application) -> Application:
        def call(environment: dict[str, Any], start_response: Any) -> Any:
            response = application(environment, start_response)
            method, query = environment["REQUEST_METHOD"], environment["QUERY_STRING"]
            is_part = "partNumber=" in query
            if (method == "PUT" and not is_part) or (method == "POST" and "uploadId=" in query):
                key = environment["PATH_INFO"].removeprefix("/bucket/")
                for moment in self._moments:
                    moment.look(key, environment["REMOTE_ADDR"])
            return response

        return call

    def uri(self, folder: str) -> str:
        """A folder as machines of the namespace's network name it."""
        return _uri(folder, self._there)

    def uri_here(self, folder: str) -> str:
        """The same as this process names it."""
        return _uri(folder, self._here)


def _uri(folder: str, server: str) -> str:
    return f"s3://bucket/{folder}?endpoint_override={server}&scheme=http&region=us-east-1"


def _serve(stack: ExitStack, application: Application, listening: socket.socket) -> str:
    host, port = listening.getsockname()
    server = make_server(host, port, application, threaded=True, fd=listening.detach())
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    stack.callback(server.server_close)
    stack.callback(thread.join)
    stack.callback(server.shutdown)
    return f"{host}:{port}"


def _listening(address: str) -> socket.socket:
    return socket.create_server((address, 0))


def _listening_in(namespace: str, address: str) -> socket.socket:
    """A socket belongs to the namespace in which its thread was when it made it."""
    made: list[socket.socket] = []

    def make() -> None:
        handle = os.open(Path("/run/netns") / namespace, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"cannot enter {namespace}: {os.strerror(number)}")
        finally:
            os.close(handle)
        made.append(_listening(address))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]
