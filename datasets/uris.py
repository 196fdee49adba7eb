"""URIs that carry a secret: found and refused before anything prints or keeps them.

A URI is part of records, logs, messages and of the process list, so a key in it would be read by
everyone who sees one of these. What is refused here is never repeated, not even in part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, unquote, urlsplit

REMOTE_SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
"""Kinds of filesystems that pyarrow opens by a URI, besides ``file``."""

_INSTEAD = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN too for keys that "
    "expire) in the environment, or AWS_PROFILE",
    "gs": "name the file with the key in GOOGLE_APPLICATION_CREDENTIALS",
    "gcs": "name the file with the key in GOOGLE_APPLICATION_CREDENTIALS",
    "abfs": "set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET in the environment",
    "abfss": "set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET in the environment",
    "hdfs": "set HADOOP_USER_NAME in the environment",
    "viewfs": "set HADOOP_USER_NAME in the environment",
}
_ANY = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS or "
    "HADOOP_USER_NAME in the environment"
)

_SECRET_WORDS = re.compile(r"key|secret|token|passw|passphrase|pwd|credential|signature|^sig$")
_NO_SECRETS = ("credential_kind",)
"""What pyarrow calls the way of logging in, not what one logs in with."""

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):/+(?P<place>[^\s'\"<>]+)")
"""One anywhere in a text; with one slash, which is what becomes of it as a path."""

_BUCKETS = ("s3", "gs", "gcs")
_AZURE = ("abfs", "abfss")


def check_no_secret(uri: str) -> None:
    """Refuse a store's URI that has a user, a password, or a query that names a key.

    Raises:
        OSError: If it does; the message is a sentence that has no part of the URI but its scheme.
    """
    scheme, colon, rest = uri.partition(":")
    scheme = scheme.lower()
    if "://" not in uri:
        if colon and scheme in (*REMOTE_SCHEMES, "file"):
            raise OSError(f"the store '{scheme}:…' is no URI: it has to begin with '{scheme}://'")
        return
    place = rest.removeprefix("//")
    if not (_has_user(scheme, place) or _has_key(place)):
        return
    known = scheme if scheme in REMOTE_SCHEMES else "…"
    raise OSError(
        f"the store '{known}://…' has a user, a key or a password in its URI, which everyone who "
        f"sees a record, a log or the list of processes could read: leave it out, and "
        f"{_INSTEAD.get(scheme, _ANY)}"
    )


def check_no_secret_in(words: Iterable[str]) -> None:
    """Refuse a command one of whose words is or has a URI with a user, a password or a key.

    Raises:
        OSError: If there is one; the message has no part of the URI but its scheme.
    """
    for word in words:
        found = _URI.search(word)
        if found is None:
            continue
        scheme, place = found["scheme"].lower(), word[found.start("place") :]
        if scheme in (*REMOTE_SCHEMES, "file"):
            check_no_secret(f"{scheme}://{place}")
        elif _has_user(scheme, place) or _has_key(place):
            raise OSError(
                "a URL of this command has a user, a key or a password, which everyone who sees a "
                "record, a log or the list of processes could read: leave it out"
            )


def without_secrets(text: str) -> str:
    """A text in whose URIs an ellipsis stands for what is before the host, and for a key's query.

    Libraries repeat the addresses they were given, such as those of proxies, in their errors.
    """
    return _URI.sub(_masked, text) if ":/" in text else text


def _masked(found: re.Match[str]) -> str:
    scheme, place = found["scheme"], found["place"]
    begin = found.group().removesuffix(place)
    if _has_user(scheme.lower(), place):
        _, at, rest = place.rpartition("@")
        place = f"…@{rest}" if at else "…"
    if _has_key(place):
        place = f"{place.partition('?')[0]}?…"
    return f"{begin}{place}"


def _has_user(scheme: str, place: str) -> bool:
    """Whether there is anything before the host, or where a secret with odd signs would be."""
    authority = unquote(re.split(r"[/?#]", place, maxsplit=1)[0])
    user, at, _ = authority.rpartition("@")
    if scheme in _AZURE and at and ":" not in authority:
        return False  # what stands there is the container
    if scheme in _BUCKETS and user == "anonymous":
        return False  # how pyarrow is told to log in as nobody
    if at:
        return True
    # A secret may have a slash, which ends the authority before its @.
    if scheme in _BUCKETS:
        return ":" in authority
    return re.search(r":[^\]:]*[^\d\]:][^\]:]*$", authority) is not None


def _has_key(place: str) -> bool:
    """Whether the query has a name by which keys are called."""
    try:
        query = urlsplit(f"//{place}").query
    except ValueError:  # brackets that are no address
        query = place.partition("?")[2]
    if re.search(r"://[^/?#&]*@", unquote(query)):
        return True  # a URL within it, such as that of a proxy
    for text in (query, unquote(query)):
        for name, _ in parse_qsl(text.replace(";", "&"), keep_blank_values=True):
            plain = unquote(name).lower().replace("-", "_")
            if _SECRET_WORDS.search(plain) and plain not in _NO_SECRETS:
                return True
    return False
