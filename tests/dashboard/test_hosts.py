"""Who the dashboard answers: its own names and those that were allowed, and no other site."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.serving import Server, chromium, serve
from dashboard.hosts import CLOSED, LOOPBACK, REFUSAL, HostCheck, host_name
from dashboard.options import parse_options

MAPPED = "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP lab.test 127.0.0.1"
PATHS = (
    "/",
    "/data",
    "/index.html",
    "/_stcore/health",
    "/_stcore/host-config",
    "/_stcore/stream",
    "/media/x.png",
    "/no/such/path",
)


class TestNames:
    @pytest.mark.parametrize(
        ("host", "name"),
        [
            ("localhost", "localhost"),
            ("LocalHost:8501", "localhost"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::1]:8501", "[::1]"),
            ("study.example.org:443", "study.example.org"),
        ],
    )
    def test_name_is_what_stands_before_the_port(self, host: str, name: str) -> None:
        assert host_name(host) == name

    @pytest.mark.parametrize(
        "host",
        [
            "",
            ":8501",
            "user@localhost",
            "localhost@evil.test",
            "localhost:evil",
            "localhost:999999",
            "localhost\n",
            "localhost/evil",
            "localhost?evil",
            "localhost#evil",
            "localhost\\evil",
            "::1",
            "[::1",
            "löcalhost",
            "localhost evil.test",
        ],
    )
    def test_what_is_no_name_is_none_that_is_answered(self, host: str) -> None:
        assert host_name(host) not in LOOPBACK

    def test_names_are_added_as_the_address_bar_has_them(self) -> None:
        line = ["--host", "Study.Example.org", "--host", "fe80::1", "--host", "10.0.0.7"]
        assert parse_options(line).hosts == ("study.example.org", "[fe80::1]", "10.0.0.7")
        assert parse_options([]).hosts == ()

    @pytest.mark.parametrize("name", ["http://a.b", "a.b:8501", "a.b/x", "*", "a b", "", "é.org"])
    def test_what_is_no_name_cannot_be_added(
        self, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            parse_options(["--host", name])
        assert "is no name or address" in capsys.readouterr().err


def answer(headers: list[tuple[str, str]], kind: str = "http", path: str = "/") -> list[Any]:
    """What a check in front of an application that always answers lets through."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "answered"})

    async def receive() -> Any:
        return {"type": "http.request"}

    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": kind, "path": path, "headers": raw, "method": "GET"}
    asyncio.run(HostCheck(behind, [*LOOPBACK, "lab.test"])(scope, receive, send))
    return sent


ANSWERED = [{"type": "answered"}]


class TestCheck:
    @pytest.mark.parametrize("kind", ["http", "websocket"])
    @pytest.mark.parametrize("host", ["localhost:8501", "127.0.0.1:1", "[::1]:8501", "LAB.test"])
    def test_allowed_names_are_answered_on_any_port(self, host: str, kind: str) -> None:
        assert answer([("host", host)], kind) == ANSWERED
        assert answer([("host", host), ("origin", f"http://{host}")], kind) == ANSWERED

    @pytest.mark.parametrize("kind", ["http", "websocket"])
    @pytest.mark.parametrize(
        "headers",
        [
            [],
            [("host", "evil.test:8501")],
            [("host", "localhost.evil.test")],
            [("host", "localhost"), ("host", "evil.test")],
            [("host", "localhost:8501"), ("origin", "http://evil.test")],
            [("host", "localhost:8501"), ("origin", "http://localhost:8502")],
            [("host", "localhost:8501"), ("origin", "http://127.0.0.1:8501")],
            [("host", "localhost:8501"), ("origin", "null")],
            [("host", "localhost:8501"), ("origin", "http://[::1")],
            [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://e.test")],
        ],
    )
    def test_all_else_is_refused(self, headers: list[tuple[str, str]], kind: str) -> None:
        (first, *_) = answer(headers, kind)
        if kind == "websocket":
            assert first["type"] == "websocket.close"
        else:
            assert first["status"] == 403

    @pytest.mark.parametrize("part", CLOSED)
    @pytest.mark.parametrize("kind", ["http", "websocket"])
    def test_closed_parts_answer_nobody(self, part: str, kind: str) -> None:
        for path in (f"/{part}", f"/base/{part}/x"):
            assert answer([("host", "localhost")], kind, path) != ANSWERED

    def test_start_and_stop_of_the_server_come_through(self) -> None:
        assert answer([], "lifespan") == ANSWERED


def ask(server: Server, path: str, **headers: str) -> tuple[int, bytes]:
    """Status and body of a request with just these headers."""
    port = urlsplit(server.url).port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def open_socket(server: Server, **headers: str) -> int:
    """Status of the answer to a web socket's handshake."""
    port = urlsplit(server.url).port
    lines = [
        "GET /_stcore/stream HTTP/1.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(1024).split()[1])


@pytest.fixture(scope="module")
def server(made_up_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A dashboard that was allowed to answer to ``lab.test`` as well."""
    log = tmp_path_factory.mktemp("hosts") / "log"
    with serve(["--store", str(made_up_store), "--host", "lab.test"], log) as started:
        yield started


@pytest.mark.slow
class TestServer:
    @pytest.mark.parametrize("path", PATHS)
    def test_a_foreign_name_gets_nothing_anywhere(self, server: Server, path: str) -> None:
        port = urlsplit(server.url).port
        assert ask(server, path, Host=f"evil.test:{port}") == (403, REFUSAL.encode())
        other = {"Host": f"localhost:{port}", "Origin": "http://localhost:1"}
        assert ask(server, path, **other) == (403, REFUSAL.encode())

    def test_own_and_allowed_names_are_answered(self, server: Server) -> None:
        for host in ("localhost", "127.0.0.1:1", "[::1]", "lab.test"):
            assert ask(server, "/_stcore/health", Host=host)[0] == 200

    def test_web_sockets_open_for_own_pages_alone(self, server: Server) -> None:
        assert open_socket(server, Host="localhost:5", Origin="http://localhost:5") == 101
        assert open_socket(server, Host="localhost:5", Origin="http://localhost:6") == 403
        assert open_socket(server, Host="evil.test", Origin="http://evil.test") == 403

    def test_metrics_are_off(self, server: Server) -> None:
        assert ask(server, "/_stcore/metrics", Host="localhost")[0] == 404


@pytest.fixture(scope="module")
def mapping_browser() -> Iterator[Browser]:
    """A browser that is told that two strange names lead to this machine."""
    with chromium(MAPPED) as found:
        yield found


@pytest.fixture
def tab(mapping_browser: Browser) -> Iterator[Page]:
    context = mapping_browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def other_site() -> Iterator[str]:
    """A page on another port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>other</title>")

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://localhost:{site.server_port}/"
        site.shutdown()
        thread.join()


READ = """async url => {
    try { const r = await fetch(url); return [r.status, await r.text()]; }
    catch (error) { return 'nothing'; }
}"""
CONNECT = """url => new Promise(done => {
    const socket = new WebSocket(url, ['streamlit']);
    socket.onopen = () => done('open');
    socket.onerror = () => done('refused');
})"""


@pytest.mark.browser
@pytest.mark.slow
class TestBrowser:
    def test_under_a_foreign_name_it_gets_nothing(self, tab: Page, server: Server) -> None:
        place = f"evil.test:{urlsplit(server.url).port}"
        seen: list[int] = []
        tab.on("response", lambda response: seen.append(response.status))
        found = tab.goto(f"http://{place}/")
        assert found is not None
        assert (found.status, found.text()) == (403, REFUSAL)
        for path in PATHS:
            assert tab.evaluate(READ, path) == [403, REFUSAL]
        assert tab.evaluate(CONNECT, f"ws://{place}/_stcore/stream") == "refused"
        assert set(seen) == {403}

    def test_another_port_of_this_machine_gets_nothing(
        self, tab: Page, server: Server, other_site: str
    ) -> None:
        place = f"localhost:{urlsplit(server.url).port}"
        tab.goto(other_site)
        for path in PATHS:
            assert tab.evaluate(READ, f"http://{place}{path}") == "nothing"
        assert tab.evaluate(CONNECT, f"ws://{place}/_stcore/stream") == "refused"

    @pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "lab.test"])
    def test_own_and_allowed_names_show_the_study(
        self, tab: Page, server: Server, name: str
    ) -> None:
        tab.goto(f"http://{name}:{urlsplit(server.url).port}/")
        expect(tab.get_by_role("heading", name="Study", exact=True)).to_be_visible(timeout=60_000)
