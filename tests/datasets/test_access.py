"""Rights in a store are found missing before anything is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from datasets import filesystems
from datasets.access import check_access
from datasets.layout import Kind, kind_of
from datasets.storage import Storage, StorageError, UnwritableError
from tests.listings import unprivileged


def test_with_all_rights_nothing_is_left_behind(tmp_path: Path) -> None:
    check_access(Storage.open(str(tmp_path / "store")), ("shards", "studies/mine"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("mode", "right"), [(0o300, "list"), (0o500, "write"), (0o000, "list"), (0o400, "write")]
)
def test_a_right_that_is_missing_on_a_disk_is_named(mode: int, right: str) -> None:
    with unprivileged() as folder:
        (folder / "shards").mkdir()
        (folder / "shards").chmod(mode)
        try:
            with pytest.raises(StorageError, match=f"no right to {right} files in 'shards'"):
                check_access(Storage.open(str(folder)))
        finally:
            (folder / "shards").chmod(0o700)
        assert list((folder / "shards").iterdir()) == []


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "shards").touch()
    with pytest.raises(StorageError, match="'shards'"):
        check_access(Storage.open(str(tmp_path)))


def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    storage = Storage.open(str(tmp_path))
    monkeypatch.setattr("datasets.storage.put_file", full)
    with pytest.raises(UnwritableError, match="No space left"):
        check_access(storage)


@dataclass
class Guarded:
    """An S3 server that refuses some kinds of requests.

    Attributes:
        uri: Of an empty store there.
        refused: Methods that are answered with 403; ``LIST`` is GET of a whole bucket.
        seen: What was asked for.
    """

    uri: str = ""
    refused: set[str] = field(default_factory=set)
    seen: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def server() -> Iterator[Guarded]:
    """Moto's own application, behind a door that refuses."""
    found = Guarded()
    application = DomainDispatcherApplication(create_backend_app)

    def guard(environ: dict[str, Any], start: Any) -> Any:
        method = environ["REQUEST_METHOD"]
        if method == "GET" and "list-type" in environ["QUERY_STRING"]:
            method = "LIST"
        found.seen.append(method)
        if method in found.refused:
            start("403 Forbidden", [("Content-Type", "application/xml")])
            return [b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]
        return application(environ, start)

    http = make_server("127.0.0.1", 0, guard, threaded=True)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    query = f"endpoint_override=127.0.0.1:{http.port}&scheme=http&region=us-east-1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(filesystems, "S3_TRIES", 1)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        where = f"s3://guarded?{query}"
        Storage.open(f"{where}&allow_bucket_creation=true").filesystem.create_dir("guarded")
        found.uri = f"s3://guarded/store?{query}"
        yield found
    http.shutdown()
    thread.join()


@pytest.mark.parametrize(
    ("refused", "right"),
    [({"LIST"}, "list"), ({"PUT", "POST"}, "write"), ({"GET"}, "read"), ({"DELETE"}, "delete")],
)
def test_a_right_that_is_missing_on_s3_is_named(
    refused: set[str], right: str, server: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage.open(server.uri)
    check_access(storage)
    monkeypatch.setattr(server, "refused", refused)
    with pytest.raises(StorageError, match=f"no right to {right} files in 'shards'"):
        check_access(storage)
    monkeypatch.setattr(server, "refused", set())
    left = storage.files()
    assert bool(left) == (right == "delete")
    assert all(kind_of(path) is Kind.UNFINISHED for path in left), "gc removes it"
    for path in left:
        storage.delete(path)


def test_a_bucket_that_is_not_there_is_named_by_one_request(server: Guarded) -> None:
    storage = Storage.open(server.uri)
    assert storage.missing_bucket() is None
    server.seen.clear()
    other = Storage.open(server.uri.replace("//guarded/", "//other/"))
    assert other.missing_bucket() == "other"
    assert server.seen == ["HEAD"]


def test_a_bucket_that_may_not_be_looked_at_counts_as_there(
    server: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "refused", {"HEAD", "LIST"})
    assert Storage.open(server.uri).missing_bucket() is None


def test_a_disk_has_no_buckets(tmp_path: Path) -> None:
    assert Storage.open(str(tmp_path / "store")).missing_bucket() is None
