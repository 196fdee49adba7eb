"""How commands end whatever goes wrong: with a sentence and a status, waiting for nobody."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of this text in a process of its own."""
    line = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=600)


GIVEN_UP = """
    import atexit, threading
    from datasets.deadlines import within
    from datasets.storage import StorageError
    from study import cli
    atexit.register(lambda: print("waited for the server"))
    app = cli.new_app()
    @app.command()
    def main() -> None:
        print("asked the server")
        try: within(0.01, {work})
        except TimeoutError as error: raise StorageError(f"cannot read: {{error}}") from error
    cli.run(app)
"""


def test_a_server_that_was_given_up_is_not_waited_for_at_the_end() -> None:
    ended = run(GIVEN_UP.format(work="threading.Event().wait"))
    assert (ended.returncode, ended.stdout) == (1, "asked the server\n")
    assert ended.stderr == "error: cannot read: no answer within 0.01 s\n"
