"""What may follow ``streamlit run dashboard/app.py --``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dashboard.hosts import host_name
from datasets.uris import check_no_secret, check_no_secret_in


@dataclass(frozen=True)
class DashboardOptions:
    """The command line of the dashboard.

    Attributes:
        stores: URIs of the stores that may be looked at, by name. The address chooses among the
            names, so no address leads anywhere else.
        study: The study to open first; None opens the one that moved last.
        hosts: Names and addresses under which the dashboard is reached, besides this machine's own.
        reviews: The file that keeps what people mark; None if nothing may be marked.
    """

    stores: Mapping[str, str]
    study: str | None
    hosts: tuple[str, ...] = ()
    reviews: Path | None = None


def parse_options(arguments: Sequence[str]) -> DashboardOptions:
    """Read the dashboard's command line.

    Raises:
        SystemExit: On a wrong option, with a sentence on standard error.
    """
    parser = argparse.ArgumentParser(
        prog="streamlit run dashboard/app.py --",
        description="A read-only view of a store of studies.",
    )
    parser.add_argument(
        "--store",
        action="append",
        type=_uri,
        metavar="URI",
        help="folder or URI of a store (default: runs); may be given several times",
    )
    parser.add_argument("--study", metavar="NAME", help="study to open first (default: the last)")
    parser.add_argument(
        "--host",
        action="append",
        type=_host,
        default=[],
        metavar="NAME",
        help="name or address under which browsers reach it from elsewhere; may be given several "
        "times (default: localhost and its addresses alone)",
    )
    parser.add_argument(
        "--reviews",
        type=Path,
        metavar="FILE",
        help="file for marks and notes on scans and trials, beside the stores, which a cohorts "
        "file may name to leave scans out (default: nothing can be marked)",
    )
    try:
        check_no_secret_in(arguments)
    except OSError as error:
        parser.error(str(error))
    read = parser.parse_args(list(arguments))
    return DashboardOptions(
        stores=_named(tuple(dict.fromkeys(read.store or ["runs"]))),
        study=read.study,
        hosts=tuple(dict.fromkeys(read.host)),
        reviews=_file(parser, read.reviews, read.store or ["runs"]),
    )


def _file(parser: argparse.ArgumentParser, path: Path | None, stores: Sequence[str]) -> Path | None:
    """The file of reviews as an absolute path; one in a store is refused."""
    if path is None:
        return None
    place = path.expanduser().resolve()
    for store in stores:
        if "://" not in store and place.is_relative_to(Path(store).resolve()):
            parser.error(f"--reviews {path}: it lies in the store {store}, which is only read")
    if place.is_dir():
        parser.error(f"--reviews {path}: that is a folder; name a file")
    return place


def _named(uris: Sequence[str]) -> dict[str, str]:
    """URIs by what tells them apart: as few of their last folders as that takes."""
    parts = {uri: [part for part in uri.split("/") if part] or [uri] for uri in uris}
    names = {uri: parts[uri][-1] for uri in uris}
    for length in range(2, 1 + max(map(len, parts.values()))):
        count = Counter(names.values())
        for uri in uris:
            if count[names[uri]] > 1:
                names[uri] = "/".join(parts[uri][-length:])
    count = Counter(names.values())
    return {name if count[name] == 1 else uri: uri for uri, name in names.items()}


def _uri(text: str) -> str:
    """A store's URI, which the command line and the page would show to everyone."""
    try:
        check_no_secret(text)
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _host(text: str) -> str:
    """A name or address, as the address bar would have it."""
    bare = f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text
    name = host_name(bare)
    if not name or name != bare.lower():
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name or address of a machine, such as study.example.org: leave out "
            "the scheme, the port and the path"
        )
    return name
