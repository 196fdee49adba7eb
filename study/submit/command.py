"""Running a study as a job on a Ray cluster, with the options of ``study.run``."""

from __future__ import annotations

import secrets
import shlex
import sys
from typing import Annotated

import typer

from study import cli
from study.cluster import connection
from study.cluster.code import staged_code
from study.cluster.environment import packed
from study.errors import EXIT_BROKE, EXIT_INTERRUPTED, EXIT_SOME_FAILED, UsageError
from study.submit.client import JobInfo, JobServer, LostError, UnknownJobError, short
from study.submit.submission import Submission, make_submission
from study.terminal import echo, say_aside, shown

DEFAULT_JOB_SERVER = "http://127.0.0.1:8265"

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
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Send the value of this environment variable along; may be given several times. "
            "Who has the cluster's token can read it.",
        ),
    ] = None,
    follow: Annotated[
        str | None, typer.Option(metavar="ID", help="Instead: follow this job to its end.")
    ] = None,
    status: Annotated[
        str | None, typer.Option(metavar="ID", help="Instead: print how this job is.")
    ] = None,
    stop: Annotated[str | None, typer.Option(metavar="ID", help="Instead: stop this job.")] = None,
) -> None:
    """Run a study on a Ray cluster, as a job; all other options are those of study.run.

    The packages of this project are sent along, and the files that --grid and --cohorts name;
    nothing else is. Paths are those of the cluster's machines, so the store has to be a folder that
    all of them have or a URI such as s3://bucket/x, and the roots in the cohorts file absolute. The
    exit status of a job that is followed is that of study.run.
    """
    instead = {"--follow": follow, "--status": status, "--stop": stop}
    asked = {name: job for name, job in instead.items() if job is not None}
    submission = None
    if asked:
        _check_alone(asked, context.args, env)
    else:
        submission = make_submission(context.args, env or (), note=say_aside)
    connection.configure(verbose=False, address=job_server)
    server = JobServer(job_server)
    if submission is not None:
        server.check_version()
        job = _send(server, submission)
        if not wait:
            echo(f"follow it with: {_command(server, '--follow', job)}")
            return
        raise typer.Exit(_follow(server, job, is_new=True))
    if follow is not None:
        raise typer.Exit(_follow(server, follow))
    if status is not None:
        echo(_status_line(status, server.info(status)))
    if stop is not None:
        _stop(server, stop)


def _check_alone(asked: dict[str, str], others: list[str], env: list[str] | None) -> None:
    """Refuse what would be left undone beside a question about a job.

    Raises:
        UsageError: If there is more than one question, or options of a study.
    """
    name, *more = asked
    surplus = [*more, *others, *(["--env"] if env else [])]
    if surplus:
        raise UsageError(f"{name} stands alone beside --job-server, without {surplus[0]!r}")


def _send(server: JobServer, submission: Submission) -> str:
    job = f"study-{secrets.token_hex(6)}"
    entrypoint = shlex.join(["python", "-m", "study.run", *submission.arguments])
    try:
        with staged_code(submission.files | packed(submission.environment)) as code:
            server.submit(job, entrypoint, code)
    except KeyboardInterrupt:
        say_aside(
            "Interrupted while the job was sent, which may have begun. Look with:\n"
            f"  {_command(server, '--status', job)}"
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None
    echo(f"submitted as {job} to {server.url}")
    return job


def _follow(server: JobServer, job: str, *, is_new: bool = False) -> int:
    """Print the log of a job to its end; returns the exit status for it.

    Args:
        server: Its job server.
        job: Its name.
        is_new: Whether this command has begun it.
    """
    is_known = is_new
    again = "the same submission" if is_new else "a new submission of its study"

    def write(text: str) -> None:
        nonlocal is_known
        is_known = True
        sys.stdout.write(shown(text.expandtabs()))
        sys.stdout.flush()

    try:
        return _exit_status(job, server.follow(job, write))
    except KeyboardInterrupt:
        say_aside(
            f"The job {job} runs on. Follow it again, or stop it, with:\n"
            f"  {_command(server, '--follow', job)}\n  {_command(server, '--stop', job)}"
        )
        return EXIT_INTERRUPTED
    except UnknownJobError:
        if not is_known:
            raise
        raise ConnectionError(
            f"the cluster at {server.url!r} knows the job {job} no more: its head has been started "
            f"anew; {again} goes on from the study's store"
        ) from None
    except LostError as error:
        raise ConnectionError(
            f"the cluster at {server.url!r} has been lost ({error}); once it is back, go on with: "
            f"{_command(server, '--follow', job)}; if its head was started anew, {again} goes on "
            "from the study's store"
        ) from error


def _exit_status(job: str, info: JobInfo) -> int:
    """The exit status of this command for a job that has ended, and a line about a bad end."""
    if info.status == "SUCCEEDED":
        return 0
    if info.status == "STOPPED":
        echo(f"job {job} was stopped", err=True)
        return EXIT_INTERRUPTED
    if info.exit_code is None:
        echo(f"error: the cluster could not run job {job}: {short(info.message)}", err=True)
        return EXIT_BROKE
    if info.exit_code < 0:
        echo(f"error: job {job}: study.run was ended by signal {-info.exit_code}", err=True)
        return EXIT_BROKE
    words = "some trials or scans failed" if info.exit_code == EXIT_SOME_FAILED else "failed"
    echo(f"job {job}: {words}: study.run has ended with status {info.exit_code}", err=True)
    return info.exit_code


def _status_line(job: str, info: JobInfo) -> str:
    since = f" since {info.since}" if info.since else ""
    status = "" if info.exit_code is None else f", exit status {info.exit_code}"
    message = f": {short(info.message)}" if info.message else ""
    return f"{job}: {info.status}{since}{status}{message}"


def _stop(server: JobServer, job: str) -> None:
    was_at_work, info = server.stop(job)
    if not was_at_work:
        echo(f"job {job} had ended already: {info.status}")
        return
    if info.status != "STOPPED":
        echo(f"job {job} has ended by itself meanwhile: {info.status}")
        return
    echo(
        f"stopped job {job}; what was recorded is kept, and the same submission goes on from the "
        "study's store"
    )


def _command(server: JobServer, option: str, job: str) -> str:
    """A command as one would type it."""
    return shlex.join(["python", "-m", "study.submit", "--job-server", server.url, option, job])
