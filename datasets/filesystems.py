"""Opening the filesystem that a path or a URI names, with a time limit on every request to it."""

from __future__ import annotations

import errno
import os
import re
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from datasets.deadlines import LIMIT_S, WithDeadline, sentence, within
from datasets.uris import check_no_secret

S3_TIMEOUT_S = 3.0
"""How long an S3 server may say nothing: Amazon's own default, which Arrow takes as well."""

S3_TRIES = 5
"""How often S3 is asked. The pauses between are a random share of 1, 2, 4 and 8 s: a server that is
gone for some seconds is waited for, and one that never answers is given up after half a minute."""

_LONGEST = 300
_NO_BUCKET = re.compile("Bucket '.*' not found")
_OBJECT_STORES = ("s3", "gcs", "abfs")
_REFUSED = re.compile(r"access.denied|permission.denied|forbidden|\b403\b", re.IGNORECASE)
_WRONG_NAMES = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)


def open_filesystem(uri: str) -> tuple[pafs.FileSystem, str, str]:
    """The filesystem that a local path or a URI such as ``s3://bucket/folder`` names.

    Nothing is created. A local path is made absolute; what ``~`` stands for is put in its place.

    Returns:
        The filesystem, the path of the folder there without a slash at its end, and the URI with
        which other processes open the same.

    Raises:
        ConnectionError: If what it names does not answer or fails; the message is a sentence.
        OSError: If it names none, or has a key or a password.
    """
    check_no_secret(uri)
    if any("\ud800" <= sign <= "\udfff" or sign == "\0" for sign in uri):
        raise OSError(f"cannot open the store {shown(uri)}: no name has such signs")
    try:
        filesystem, root = _open_remote(uri) if "://" in uri else _open_local(uri)
    except OSError as error:
        # Arrow looks for the region of an S3 bucket, if the URI does not name one.
        kind = OSError if _NO_BUCKET.search(str(error)) else ConnectionError
        raise kind(f"cannot open the store {shown(uri)}: {sentence(error)}") from error
    except (pa.ArrowException, ValueError, RuntimeError) as error:
        raise OSError(f"cannot open the store {shown(uri)}: {sentence(error)}") from error
    root = root.rstrip("/")
    if not root:
        raise OSError(
            f"cannot open the store {shown(uri)}: it has to be a folder, such as s3://bucket/folder"
        )
    if isinstance(filesystem, pafs.LocalFileSystem):
        _look(root, uri)
        return filesystem, root, uri if "://" in uri else root
    return filesystem, root, uri


def missing_bucket(filesystem: pafs.FileSystem, root: str) -> str | None:
    """The bucket of an object store's folder if there is none of that name; asks once.

    A bucket that may not be looked at counts as there: its files may be used all the same.

    Raises:
        OSError: If the store does not answer.
    """
    if filesystem.type_name.removeprefix("py::") not in _OBJECT_STORES:
        return None
    bucket = root.split("/", 1)[0]
    try:
        kind = filesystem.get_file_info(bucket).type
    except OSError as error:
        if _REFUSED.search(str(error)):
            return None
        raise
    return bucket if kind == pafs.FileType.NotFound else None


def shown(uri: str) -> str:
    """A URI as messages have it: in quotes, what cannot be printed written out, cut if too long."""
    return repr(uri) if len(uri) <= _LONGEST else f"{uri[:_LONGEST]!r}… ({len(uri):,} signs)"


def _open_local(path: str) -> tuple[pafs.FileSystem, str]:
    return pafs.LocalFileSystem(), str(Path(path).expanduser().absolute())


def _open_remote(uri: str) -> tuple[pafs.FileSystem, str]:
    filesystem, root = within(LIMIT_S, lambda: pafs.FileSystem.from_uri(uri))
    return _with_limits(filesystem), str(root)


def _with_limits(filesystem: pafs.FileSystem) -> pafs.FileSystem:
    """The same filesystem, each of whose requests comes to an end."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        return filesystem
    name = type(filesystem).__name__
    if name == "S3FileSystem":
        # Made anew by what pickling keeps of it: Arrow has no other way to set limits to a URI's.
        _, (options,) = filesystem.__reduce__()
        limits = {"connect_timeout": S3_TIMEOUT_S, "request_timeout": S3_TIMEOUT_S}
        retries = pafs.AwsStandardS3RetryStrategy(max_attempts=S3_TRIES)
        return pafs.S3FileSystem(**{**options, **limits}, retry_strategy=retries)
    if name == "GcsFileSystem":
        _, (options,) = filesystem.__reduce__()
        if options["retry_time_limit"] is None:
            limit = timedelta(seconds=0.6 * LIMIT_S)  # it may take a pause longer
            filesystem = pafs.GcsFileSystem(**{**options, "retry_time_limit": limit})
    return pafs.PyFileSystem(WithDeadline(filesystem))


def _look(root: str, uri: str) -> None:
    """Find out whether a local folder can be looked at, be it there or not.

    Raises:
        OSError: If it cannot, such as below a folder without the right to enter it.
    """
    try:
        os.stat(root)
    except (FileNotFoundError, NotADirectoryError):
        return  # it need not exist yet, and what lies in its place is told elsewhere
    except OSError as error:
        kind = OSError if error.errno in _WRONG_NAMES else ConnectionError
        raise kind(f"cannot open the store {shown(uri)}: {error.strerror}") from error
