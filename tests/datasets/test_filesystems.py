"""Opening stores: what is no place for one is a sentence, and no request waits for ever."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from datasets import filesystems
from datasets.deadlines import WithDeadline, within
from datasets.filesystems import open_filesystem
from datasets.storage import Storage, StorageError
from datasets.uris import check_no_secret

IMPOSSIBLE = {
    "~no-such-user-here/x": "home directory",
    "x" * 5000: "too long",
    "a/" * 2500: "too long",
    "s3://": "has to be a folder",
    "gs://": "has to be a folder",
    "file:///": "has to be a folder",
    "/": "has to be a folder",
    "s3:///x": "bucket",
    "a\0b": "no name has such signs",
    "s3://b/\udc80": "no name has such signs",
    "abfs://": "account",
    "http://host/x": "Unrecognized filesystem",
    "hdfs://[": "parse",
    "s3://a b/x": "parse",
    "s3://b/x\ny": "parse",
}


@pytest.mark.parametrize("uri", IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
def test_what_is_no_place_for_a_store_is_a_sentence(uri: str) -> None:
    with pytest.raises(StorageError, match=IMPOSSIBLE[uri]) as caught:
        Storage.open(uri)
    message = str(caught.value)
    assert message.startswith("cannot open the store '")
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
    message.encode("utf-8")


HIDDEN = "Hidden/Thing1"

WITH_SECRETS = [
    "s3://{user}:{secret}@bucket/x",
    "S3://{user}:{secret}@bucket/x",
    "s3://{user}@bucket/x",
    "s3://{user}%3A{secret}%40bucket/x",
    "s3://:{secret}@bucket/x",
    "s3://{user}:123/{secret}@bucket/x",
    "s3:/{user}:{secret}@bucket/x",
    "s3:{user}:{secret}@bucket",
    "gs://{user}:{secret}@bucket/x",
    "hdfs://{user}@host:8020/x",
    "abfs://:{secret}@account.blob.core.windows.net/c/x",
    "file://{user}:{secret}@/x",
    "nosuch://{user}:{secret}@x",
    "s3://bucket/x?access_key={user}&secret_key={secret}",
    "s3://bucket/x?region=r&SECRET_KEY={secret}",
    "s3://bucket/x?secret%5Fkey={secret}",
    "s3://bucket/x?se%63ret-key={secret}",
    "s3://bucket/x?region=r%26secret_key={secret}",
    "s3://bucket/x?region=r;session_token={secret}",
    "gs://bucket/x?credentials={secret}",
    "abfs://c@a/x?account_key={secret}",
    "abfs://c@a/x?sas_token={secret}",
    "abfs://c@a/x?sig={secret}",
    "abfs://c@a/x?client_secret={secret}",
    "hdfs://host/x?password={secret}",
    "s3://bucket/x?X-Amz-Signature={secret}",
]


@pytest.mark.parametrize("uri", WITH_SECRETS)
def test_a_uri_with_a_secret_is_refused_and_none_of_it_repeated(uri: str) -> None:
    with pytest.raises(StorageError) as caught:
        Storage.open(uri.format(user="ShownUser", secret=HIDDEN))
    message = str(caught.value)
    assert "Hidden" not in message
    assert "Thing1" not in message
    assert "ShownUser" not in message
    assert "bucket" not in message.partition("://…")[0]
    assert len(message.splitlines()) == 1
    if uri.startswith("s3://"):
        assert "AWS_ACCESS_KEY_ID" in message


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/keys/x?region=eu-north-1&endpoint_override=h:1&scheme=http",
        "s3://bucket/a@b?region=eu-north-1",
        "gs://anonymous@bucket/x",
        "abfs://container@account/x",
        "abfs://container@account/x?credential_kind=anonymous",
        "/data/secret_key=1/a@b",
        "runs?token=x",
        "file:///data/key@home",
    ],
)
def test_a_uri_without_a_secret_is_not_taken_for_one(uri: str) -> None:
    check_no_secret(uri)


def test_a_host_with_a_port_is_no_password() -> None:
    check_no_secret("hdfs://host:8020/x")
    check_no_secret("hdfs://[::1]:8020/x?replication=2")


@pytest.mark.skipif(os.geteuid() != 0, reason="to become another user one has to be root")
def test_a_store_below_a_folder_that_may_not_be_entered_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    code = (
        "import os, sys; from datasets.storage import Storage\n"
        "os.setuid(65534)\n"
        "try: Storage.open(sys.argv[1])\n"
        "except OSError as error: print(error)\n"
    )
    place = str(tmp_path / "closed" / "store")
    found = subprocess.run(
        [sys.executable, "-c", code, place], capture_output=True, text=True, check=True
    )
    assert found.stdout == f"cannot open the store {place!r}: Permission denied\n"


@pytest.mark.parametrize(
    ("number", "is_wrong"), [(5, False), (116, False), (13, True), (40, True)], ids=str
)
def test_a_disk_that_fails_is_told_from_a_wrong_place(
    number: int, is_wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: object) -> None:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(filesystems.os, "stat", fail)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        open_filesystem(str(tmp_path))
    assert isinstance(caught.value, ConnectionError) is not is_wrong


def test_a_local_path_is_made_absolute_and_need_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for uri in ("store", "~/store", f"{tmp_path}/store/"):
        filesystem, root, kept = open_filesystem(uri)
        assert isinstance(filesystem, pafs.LocalFileSystem)
        assert root == kept == f"{tmp_path}/store"
    assert open_filesystem(f"file://{tmp_path}/store/")[1] == f"{tmp_path}/store"
    assert list(tmp_path.iterdir()) == []


@dataclass
class Silent:
    """A server that accepts every connection and says nothing."""

    port: int
    connections: list[socket.socket] = field(default_factory=list)


@pytest.fixture
def silent() -> Iterator[Silent]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = Silent(listening.getsockname()[1])

        def accept() -> None:
            while True:
                try:
                    found.connections.append(listening.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield found
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    for connection in found.connections:
        connection.close()


def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def test_a_silent_s3_is_asked_a_few_times_and_given_up(
    silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "S3_TIMEOUT_S", 1.0)
    monkeypatch.setattr(filesystems, "S3_TRIES", 2)
    query = f"endpoint_override=127.0.0.1:{silent.port}&scheme=http&region=us-east-1"
    _keys(monkeypatch)
    store = Storage.open(f"s3://bucket/x?{query}")
    with pytest.raises(StorageError, match="Timeout was reached"):
        store.names()
    assert len(silent.connections) == 2


def test_the_limits_of_s3_hold_in_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "S3_TIMEOUT_S", 2.0)
    _keys(monkeypatch)
    store = Storage.open("s3://bucket/x?endpoint_override=h:1&region=eu-north-1")
    _, (options,) = pickle.loads(pickle.dumps(store)).filesystem.__reduce__()  # noqa: S301
    assert options["request_timeout"] == options["connect_timeout"] == 2.0
    assert options["region"] == "eu-north-1"
    assert options["endpoint_override"] == "h:1"


def _google(port: int) -> pafs.FileSystem:
    return pafs.GcsFileSystem(anonymous=True, endpoint_override=f"127.0.0.1:{port}", scheme="http")


def _microsoft(port: int) -> pafs.FileSystem:
    place = f"127.0.0.1:{port}"
    return pafs.AzureFileSystem(
        account_name="a",
        account_key="c2VjcmV0",
        blob_storage_authority=place,
        dfs_storage_authority=place,
        blob_storage_scheme="http",
        dfs_storage_scheme="http",
    )


@pytest.mark.parametrize("kind", [_google, _microsoft])
def test_silent_servers_of_other_stores_are_given_up(
    kind: Callable[[int], pafs.FileSystem], silent: Silent
) -> None:
    held = pafs.PyFileSystem(WithDeadline(kind(silent.port), limit_s=0.5))
    store = Storage(held, "bucket/x", "uri", "bucket/x")
    for ask in (store.names, lambda: store.read("a"), lambda: store.put("a", b"")):
        with pytest.raises(StorageError, match=r"no answer within 0\.5 s"):
            ask()
    assert silent.connections


@pytest.mark.parametrize("uri", ["gs://b/x", "gcs://b/x", "abfs://a@b/x", "abfss://a@b/x"])
def test_every_other_remote_filesystem_has_a_deadline(uri: str) -> None:
    store = Storage.open(uri)
    assert isinstance(store.filesystem.handler, WithDeadline)


def test_a_login_that_fails_in_azure_is_a_sentence_and_no_abort() -> None:
    code = (
        "from datasets.storage import Storage, StorageError\n"
        "store = Storage.open('abfs://account@container/z?enable_tls=false')\n"
        "for ask in (store.names, lambda: store.read('a'), lambda: store.put('a', b'')):\n"
        "    try: ask()\n"
        "    except StorageError as error: print(str(error).replace('\\n', 'NEWLINE'))\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    assert len(lines) == 3
    assert all("failed" in line and "NEWLINE" not in line for line in lines)


class TestDeadline:
    def test_what_takes_too_long_is_left_behind(self) -> None:
        never = threading.Event()
        with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
            within(0.01, never.wait)
        never.set()

    def test_results_and_errors_come_through(self) -> None:
        assert within(60, lambda: 7) == 7
        with pytest.raises(FileNotFoundError, match="gone"):
            within(60, lambda: (_ for _ in ()).throw(FileNotFoundError("gone")))

    def test_arrows_own_errors_become_errors_of_the_system(self) -> None:
        def refuse() -> None:
            raise pa.ArrowException("Unknown error: refused\nsee the manual")

        with pytest.raises(OSError, match=r"Unknown error: refused$"):
            within(60, refuse)

    def test_files_go_through_it_whole(self, tmp_path: Path) -> None:
        held = pafs.PyFileSystem(WithDeadline(pafs.LocalFileSystem()))
        held = pickle.loads(pickle.dumps(held))  # noqa: S301
        data = os.urandom((4 << 20) + 5)
        (tmp_path / "folder").mkdir()
        with held.open_output_stream(f"{tmp_path}/folder/file") as stream:
            stream.write(data)
        assert (tmp_path / "folder" / "file").read_bytes() == data
        with held.open_input_stream(f"{tmp_path}/folder/file") as stream:
            assert stream.read() == data
        (info,) = held.get_file_info(pafs.FileSelector(str(tmp_path), recursive=False))
        assert info.type == pafs.FileType.Directory
        held.delete_file(f"{tmp_path}/folder/file")
        held.delete_dir(f"{tmp_path}/folder")
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(FileNotFoundError):
            held.open_input_stream(f"{tmp_path}/none")
