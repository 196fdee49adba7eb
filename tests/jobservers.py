"""A job server that does what real ones do only when something breaks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from aiohttp import web


@dataclass
class Head:
    """A head whose answers are set by a test.

    Attributes:
        url: Where it listens.
        ray_version: What it says of itself.
        jobs: The jobs it knows: what it answers about them.
        log: What the log of every job has so far.
        cut: The log is cut off without a word after so many signs, for each connection in turn;
            when none is left, it ends in order.
        forgets: Whether it knows no job any more once a log was cut off.
        refuses: What it says to whoever sends a job.
        n_tails: How often a log was asked for.
    """

    url: str = ""
    ray_version: str = ray.__version__
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: str = ""
    cut: list[int] = field(default_factory=list)
    forgets: bool = False
    refuses: str = ""
    n_tails: int = 0

    def end(self, **changes: Any) -> None:
        for job in self.jobs.values():
            job.update(changes)


def job(status: str = "RUNNING", **more: Any) -> dict[str, Any]:
    """What a head answers about a job."""
    return {"type": "SUBMISSION", "entrypoint": "x", "status": status, "start_time": 1, **more}


@contextmanager
def serving() -> Iterator[Head]:
    """A head that listens on this machine."""
    head = Head()
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(_application(head))

    async def begin() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        head.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    loop.run_until_complete(begin())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield head
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _application(head: Head) -> web.Application:
    async def version(_: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": head.ray_version})

    async def info(request: web.Request) -> web.Response:
        found = head.jobs.get(request.match_info["job"])
        if found is None:
            return web.Response(status=404, text="Job does not exist")
        return web.json_response(found)

    async def stop(request: web.Request) -> web.Response:
        head.end(status="STOPPED", end_time=2000)
        return web.json_response({"stopped": True})

    async def tail(request: web.Request) -> web.StreamResponse:
        head.n_tails += 1
        if request.match_info["job"] not in head.jobs:
            return web.Response(status=404)
        answer = web.WebSocketResponse()
        await answer.prepare(request)
        if head.cut:
            most = head.cut.pop(0)
            await answer.send_str(head.log[:most])
            if head.forgets:
                head.jobs.clear()
            assert request.transport is not None
            request.transport.close()
            return answer
        for line in head.log.splitlines(keepends=True):
            await answer.send_str(line)
        await answer.close()
        return answer

    async def begin(_: web.Request) -> web.Response:
        return web.Response(status=400, text=head.refuses)

    async def package(_: web.Request) -> web.Response:
        return web.Response()

    application = web.Application()
    application.router.add_post("/api/jobs/", begin)
    application.router.add_get("/api/packages/{protocol}/{name}", package)
    application.router.add_get("/api/version", version)
    application.router.add_get("/api/jobs/{job}", info)
    application.router.add_post("/api/jobs/{job}/stop", stop)
    application.router.add_get("/api/jobs/{job}/logs/tail", tail)
    return application
