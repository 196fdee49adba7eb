"""Running a study as a job on a Ray cluster, with the options of ``study.run``."""

from __future__ import annotations

import asyncio
import logging
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from study import cli
from study.cluster import connection
from study.errors import EXIT_FAILED
from study.run import command as run_command
from study.terminal import echo, shown

DEFAULT_JOB_SERVER = "http://127.0.0.1:8265"

_EXCLUDED = (".git", ".venv", "runs", "build", "screenshots", "tests", "*.egg-info", ".*_cache")

app = cli.new_app()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def main(
    context: typer.Context,
    job_server: Annotated[
        str,
        typer.Option(metavar="URL", envvar="RAY_API_SERVER_ADDRESS", help="Ray's job server."),
    ] = DEFAULT_JOB_SERVER,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Follow the job to its end, or return at once.")
    ] = True,
) -> None:
    """Run a study on a Ray cluster, as a job; all other options are those of study.run.

    This checkout's packages are sent along. Paths are those of the cluster's machines, so the
    store should be a shared folder or a URI such as s3://bucket/x, and the roots in the cohorts
    file absolute.
    """
    arguments = list(context.args)
    _check_arguments(arguments)
    connection.configure(verbose=False, address=job_server)
    client = _client(job_server)
    try:
        job = client.submit_job(
            entrypoint=shlex.join(["python", "-m", "study.run", *arguments]),
            runtime_env={"working_dir": str(_checkout()), "excludes": list(_EXCLUDED)},
        )
    except RuntimeError as error:  # how Ray tells that the cluster would not take it
        reason = str(error).rstrip(".")
        raise ConnectionError(f"the cluster at {job_server!r} took no job: {reason}") from error
    echo(f"submitted as {job} to {job_server}")
    if not wait:
        echo(f"follow it with: ray job logs --address {job_server} --follow {job}")
        return
    asyncio.run(_follow(client, job))
    raise typer.Exit(_exit_status(client, job))


def _check_arguments(arguments: list[str]) -> None:
    """Complain here, not on the cluster, about an option that study.run does not have."""
    command = typer.main.get_command(run_command.app)
    command.make_context("python -m study.submit", list(arguments))


def _client(job_server: str) -> Any:
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.ERROR)  # it lists every file that it leaves out
    try:
        return JobSubmissionClient(job_server)
    except AuthenticationError as error:
        raise ConnectionError(
            f"the Ray job server at {job_server!r} refused this user; copy the cluster's token to "
            f"{connection.TOKEN}, or name its file in RAY_AUTH_TOKEN_PATH with RAY_AUTH_MODE=token"
        ) from error
    except (ConnectionError, RuntimeError) as error:
        raise ConnectionError(
            f"there is no Ray job server at {job_server!r}; start a cluster, or name its address "
            "with --job-server"
        ) from error


def _checkout() -> Path:
    return Path(__file__).resolve().parents[2]


async def _follow(client: Any, job: str) -> None:
    async for lines in client.tail_job_logs(job):
        sys.stdout.write(shown(lines))
        sys.stdout.flush()


def _exit_status(client: Any, job: str) -> int:
    info = client.get_job_info(job)
    if info.status == "SUCCEEDED":
        return 0
    echo(f"job {job}: {info.status}: {info.message}", err=True)
    return int(info.driver_exit_code or EXIT_FAILED)
