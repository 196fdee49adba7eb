"""What all commands share: options, exit statuses, and errors as one sentence."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, cast, get_args

import typer

from datasets.deadlines import is_waiting, n_given_up
from datasets.errors import ExtractorError, SourceError
from datasets.filesystems import shown
from datasets.settings import PreprocessSettings
from datasets.storage import Storage, StorageError
from datasets.uris import check_no_secret_in
from study.errors import (
    EXIT_BROKE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    CohortsError,
    PlanError,
    PreparationError,
    UsageError,
)
from study.interrupts import SENTENCE
from study.outputs import OutputError, go_on_without_reader, open_outputs
from study.records.studies import StudyStore, study_names
from study.records.types import StudyRecord
from study.terminal import complain, say_aside, write_out_what_is_lacking
from trainables.arithmetic import Arithmetic, DeviceChoice

DEFAULT_STORE = "runs"

EXIT_STATUSES = (
    "Exit status: 0 done; 1 it broke, or what it looks at is damaged; 2 wrong use; 3 finished, and "
    "some trials or scans failed, which is recorded; 130 interrupted."
)

_Command = TypeVar("_Command", bound=Callable[..., Any])

_NO_ROOM = ("failed to map segment", "cannot allocate memory", "can't start new thread")

StoreOption = Annotated[
    str,
    typer.Option("--store", metavar="URI", help="Store: a folder, or a URI such as s3://bucket/x."),
]
StudyOption = Annotated[
    str | None,
    typer.Option("--study", metavar="NAME", help="Name of the study in the store."),
]


def new_app() -> typer.Typer:
    """A command-line application that leaves errors to :func:`run`."""
    return _App(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        epilog=EXIT_STATUSES,
    )


class _App(typer.Typer):
    """An application each of whose commands says that it was interrupted."""

    def command(self, *arguments: Any, **options: Any) -> Callable[[_Command], _Command]:
        """Add a command; see :class:`typer.Typer`."""
        add = super().command(*arguments, **{"epilog": EXIT_STATUSES, **options})

        def decorate(function: _Command) -> _Command:
            @wraps(function)
            def told(*values: Any, **named: Any) -> Any:
                try:
                    return function(*values, **named)
                except KeyboardInterrupt as error:
                    say_aside(SENTENCE)
                    raise typer.Exit(EXIT_INTERRUPTED) from error

            add(told)
            return function

        return decorate


def run(app: typer.Typer) -> None:
    """Run an application and end the process with the right status.

    Expected errors are printed as one sentence: a wrong option, path or file ends with status 2,
    a store that fails with 1. A bug keeps its traceback. If nobody reads what a command is there to
    print, such as a table, it ends with 1 and without a word.
    """
    open_outputs()
    write_out_what_is_lacking()
    before = n_given_up()
    try:
        _check_words()
        app(standalone_mode=True)
    except (UsageError, CohortsError, SourceError, PlanError, ExtractorError) as error:
        complain(error)
        _end(EXIT_USAGE, before)
    except OutputError as error:
        complain(OSError(f"cannot write what this command prints: {error.strerror}"))
        go_on_without_reader()
        _end(EXIT_BROKE, before)
    except (StorageError, ConnectionError, PreparationError) as error:
        complain(error)
        _end(EXIT_BROKE, before)
    except (MemoryError, ImportError, OSError, RuntimeError) as error:
        if not _is_lack(error):
            raise
        complain(_lack(error))
        _end(EXIT_BROKE, before)
    finally:
        go_on_without_reader()  # what is left in the stream's buffer was told, or is read by nobody


def _check_words() -> None:
    """Refuse a secret in a word of this command before anything repeats it.

    Raises:
        UsageError: If there is one.
    """
    try:
        check_no_secret_in(sys.argv[1:])
    except OSError as error:
        raise UsageError(str(error)) from error


def _is_lack(error: Exception) -> bool:
    """Whether there was no memory or no thread for what a command needs, libraries included."""
    if isinstance(error, ImportError | RuntimeError):
        return any(words in str(error).lower() for words in _NO_ROOM)
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM


def _lack(error: Exception) -> MemoryError:
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    limited = f" (ulimit -v {addresses // 1024})" if addresses >= 0 else ""
    why = f": {error}" if str(error) else ""
    return MemoryError(
        f"the memory and threads that this command may have are not enough{limited}{why}"
    )


def _end(status: int, before: int) -> NoReturn:
    """End the process, and do not wait for a server that was given up since it began."""
    if is_waiting(before):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def end_in_order_on_signals() -> None:
    """Make the first SIGINT, SIGTERM or SIGHUP a KeyboardInterrupt.

    A second SIGINT or SIGTERM ends the process at once. A shell starts its background jobs with
    SIGINT ignored; a scheduler ends jobs with SIGTERM; a terminal that is closed sends SIGHUP,
    often more than once, which is ignored below nohup.
    """
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise KeyboardInterrupt


def open_store(uri: str) -> Storage:
    """A store, which need not exist yet.

    Raises:
        UsageError: If the URI cannot be understood, a file is in its place, or its bucket is not
            there.
        StorageError: If it does not answer.
    """
    try:
        store = Storage.open(uri)
    except StorageError as error:
        if isinstance(error.__cause__, ConnectionError):
            raise  # it is right, and does not answer
        raise UsageError(str(error)) from error
    if store.is_local:
        place = Path(store.root)
        found = next(path for path in (place, *place.parents) if path.exists())
        if not found.is_dir():
            raise UsageError(f"the store {uri!r} has to be a folder, but {found} is a file")
    bucket = store.missing_bucket()
    if bucket is not None:
        raise UsageError(
            f"there is no bucket {bucket!r}, which the store {shown(uri)} lies in: make it first, "
            "or correct the name"
        )
    return store


def open_study(store: Storage, name: str) -> StudyStore:
    """A study of a store, which need not exist yet.

    Raises:
        UsageError: If the name is unsafe.
    """
    try:
        return StudyStore.open(store, name)
    except ValueError as error:
        raise UsageError(str(error)) from error


def existing_study(uri: str, name: str | None) -> tuple[StudyStore, StudyRecord]:
    """A study that has been run, by default the one that was run last.

    Raises:
        UsageError: If there is none of that name, or none at all.
        StorageError: If its record cannot be read; without a name, if none can be.
    """
    store = open_store(uri)
    if not store.is_there():
        raise UsageError(f"there is no study in the store {uri!r}: it is missing or not mounted")
    names = study_names(store)
    if not names:
        raise UsageError(f"there is no study in the store {uri!r}; run one with study.run")
    if name is not None and name not in names:
        raise UsageError(f"no study {name!r} in the store {uri!r}; there is: {', '.join(names)}")
    if name is not None:
        study = open_study(store, name)
        record = study.study()
        if record is None:
            raise UsageError(f"study {name!r} in the store {uri!r} has just been removed")
        return study, record
    found: list[tuple[StudyStore, StudyRecord]] = []
    faults: list[StorageError] = []
    for study in (open_study(store, n) for n in names):
        try:
            record = study.study()
        except StorageError as error:
            faults.append(error)
            continue
        if record is not None:
            found.append((study, record))
    if not found and faults:
        raise faults[0]
    for fault in faults:
        say_aside(f"A study is left out: {fault}")
    if not found:
        raise UsageError(f"there is no study in the store {uri!r} any more")
    return max(found, key=lambda item: item[1].updated)


ExtractorOption = Annotated[
    str,
    typer.Option(
        "--brain-extractor",
        metavar="TOOL",
        help="What tells the brain in whole heads: deepbet, or bet (FSL's, which must be there).",
    ),
]


NormalisationOption = Annotated[
    str,
    typer.Option(
        "--normalisation",
        metavar="volume|slice",
        help="What is divided by the median of its brain: each volume, or each axial slice.",
    ),
]


BrainMaskOption = Annotated[
    str,
    typer.Option(
        "--brain-mask",
        metavar="plain|widened",
        help="The brain extractor's mask as it is: plain, or widened beside lesions that are far "
        "darker than the other side.",
    ),
]


WaitOption = Annotated[
    float,
    typer.Option(
        "--wait-for-nodes",
        min=1,
        max=1e6,
        metavar="SECONDS",
        help="How long to wait for a machine of a cluster to have room.",
    ),
]


_WORDS = {
    "brain_extractor": "brain extractor",
    "normalisation": "normalisation",
    "brain_mask": "brain mask",
}


def device_choice(name: str) -> DeviceChoice:
    """What networks train on, as a user named it.

    Raises:
        UsageError: If there is no such choice.
    """
    names = get_args(DeviceChoice)
    if name not in names:
        raise UsageError(f"unknown device {name!r}; choose one of: {', '.join(names)}")
    return cast("DeviceChoice", name)


def arithmetic(name: str) -> Arithmetic:
    """The arithmetic that a user named.

    Raises:
        UsageError: If there is no such arithmetic.
    """
    names = get_args(Arithmetic)
    if name not in names:
        raise UsageError(f"unknown precision {name!r}; choose one of: {', '.join(names)}")
    return cast("Arithmetic", name)


def preprocess_settings(
    brain_extractor: str, normalisation: str = "volume", brain_mask: str = "widened"
) -> PreprocessSettings:
    """Settings of preprocessing by the user's choice.

    Raises:
        UsageError: If one of them is none of the choices; the message lists them.
    """
    chosen = {
        "brain_extractor": brain_extractor,
        "normalisation": normalisation,
        "brain_mask": brain_mask,
    }
    for name, value in chosen.items():
        choices = get_args(PreprocessSettings.model_fields[name].annotation)
        if value not in choices:
            raise UsageError(
                f"unknown {_WORDS[name]} {value!r}; choose one of: {', '.join(choices)}"
            )
    return PreprocessSettings.model_validate(chosen)
