"""Who is answered: requests under this machine's own names, or under names that were allowed.

A page of any site can make a browser connect to a server on its user's machine. If its own name is
made to lead to 127.0.0.1 (DNS rebinding), the browser even lets it read what comes back; all that
tells such a request is the name in it. Streamlit looks at that name for its web socket alone, and
takes every port of this machine for its own origin. So everything goes through here first: pages,
files, health and the web socket.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""What this machine calls itself."""

CLOSED = ("_stcore/metrics", "_stcore/agent", "_stcore/upload_file")
"""Parts of Streamlit's server that the dashboard has no use for."""

REFUSAL = (
    "This dashboard does not answer to that name, or to another site. To let it answer to a name, "
    "start it with --host NAME.\n"
)
_POLICY_VIOLATION = 1008
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


def host_name(host: str) -> str:
    """The name in what a ``Host`` header says, without the port and in small letters.

    Empty if it is none: a name, an IPv4 address, or an IPv6 address in brackets.
    """
    match = _HOST.fullmatch(host)
    return match["name"].lower() if match else ""


class HostCheck:
    """An ASGI application in front of another, which it shows only requests that may be answered.

    A request is refused (status 403; a web socket before it opens) unless it has one ``Host``, of
    an allowed name, and no ``Origin`` or that of the very same name and port.

    Attributes:
        names: Names and addresses that are answered, as from :func:`host_name`.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self.names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif not self._is_allowed(Headers(scope=scope)):
            await _refuse(scope, receive, send, 403)
        elif any(part in scope["path"] for part in CLOSED):
            await _refuse(scope, receive, send, 404)
        else:
            await self._app(scope, receive, send)

    def _is_allowed(self, headers: Headers) -> bool:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or host_name(hosts[0]) not in self.names:
            return False
        return all(_place(origin) == hosts[0].lower() for origin in origins)


def _place(origin: str) -> str:
    """Name and port of an origin; empty for one that has none, such as ``null``."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": ""})
        return
    text = REFUSAL if status == 403 else "not found\n"
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    await PlainTextResponse(text, status, headers)(scope, receive, send)
