"""The winner of a study on any scan: its maps in the scan's own voxels, as BIDS derivatives."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from datasets import sources
from datasets.access import check_access
from datasets.errors import ScanError
from datasets.manifest import ScanRecord
from datasets.plugins import plugin_names
from datasets.scan import MODALITIES, Listing, Modality, Scan, either
from datasets.storage import Storage, StorageError
from study import cli
from study.apply.chosen import Choice, model_of_study
from study.apply.folder import WORK, Names, label, model_label, open_folder
from study.apply.model import AppliedModel, read_model
from study.apply.scan import ScanOrder, Threshold, apply_to
from study.cluster import connection
from study.cluster.addresses import check_address
from study.cluster.nodes import core_count
from study.cluster.orphans import end_orphans
from study.cluster.patience import WAIT_S, Patience
from study.cluster.tasks import each_ended
from study.errors import EXIT_BROKE, EXIT_INTERRUPTED, EXIT_SOME_FAILED, UsageError
from study.outputs import go_on_without_reader
from study.prepare.cohorts import Cohort
from study.prepare.found import list_cohort
from study.prepare.limits import Limits
from study.prepare.listing import CohortListing, scan_name
from study.prepare.preparation import Preparation
from study.prepare.scans import fault_name, needs
from study.progress.live import View
from study.progress.monitor import Monitor
from study.progress.tracker import Tracker
from study.records.heartbeats import Stage
from study.report.thresholds import FEW, USUAL, threshold_name
from study.terminal import PlainConsole, new_console

COHORT = "scans"
"""What stands for a cohort's name where scans are prepared."""

_HEALTHY = re.compile(r"healthy:\s*([0-9]+(?:\.[0-9]+)?)\s*%")


@dataclass(frozen=True)
class Order:
    """What to make maps of, and how.

    Attributes:
        scans: A scan, or a folder of scans.
        source: Layout of the folder.
        out: Folder of the maps.
        model: The model.
        score: The score that the maps show.
        threshold: Of the masks.
        page: Whether each scan gets a page to look at.
        limits: Of the preparation of one scan.
        address: Of a Ray cluster, or None for one of this process alone.
        verbose: Whether Ray may print.
        wait_s: How long to wait for a node with room, in seconds.
    """

    scans: Path
    source: str
    out: Path
    model: AppliedModel
    score: str
    threshold: Threshold
    page: bool
    limits: Limits
    address: str | None
    verbose: bool
    wait_s: float = WAIT_S

    @property
    def modality(self) -> Modality:
        """Of the scans."""
        return self.model.description.spec.modality

    @property
    def root(self) -> Path:
        """The folder that names of scans begin at."""
        return self.scans if self.scans.is_dir() else self.scans.parent

    @property
    def cohort(self) -> Cohort:
        """What the scans are prepared as.

        Raises:
            UsageError: If there is no such layout.
        """
        try:
            return Cohort(
                name=COHORT,
                source=self.source,
                root=self.root,
                role="healthy",
                modalities=(self.modality,),
            )
        except ValidationError as error:
            raise UsageError(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from error

    def find(self, cohort: Cohort) -> Listing:
        """The scans, without masks of lesions that may lie beside them.

        Raises:
            SourceError: If the folder holds no scan of the modality.
        """
        if not self.scans.is_dir():
            subject, session = subject_of(self.scans)
            return Listing((Scan(subject, session, self.modality, self.scans),))
        listing = list_cohort(cohort)
        return replace(listing, scans=tuple(_unmasked(scan) for scan in listing.scans))


def subject_of(path: Path) -> tuple[str, str]:
    """Subject and session by a file's name; without ``sub-`` the name itself is the subject."""
    entities = dict(re.findall(r"(?:^|_)(sub|ses)-([A-Za-z0-9]+)", path.name))
    if "sub" in entities:
        return entities["sub"], entities.get("ses", "")
    return label(path.name.partition(".")[0]), ""


def _unmasked(scan: Scan) -> Scan:
    others = tuple(_unmasked(other) for other in scan.alternatives)
    return replace(scan, lesion_masks=(), lesion_labels=(), alternatives=others)


def make_maps(order: Order, console: PlainConsole) -> int:
    """Prepare all scans and write their maps, then say what became of them.

    Returns:
        The exit status: whether every scan has its maps, some, or none.
    """
    cohort = order.cohort
    order.find(cohort)  # before anything is written
    open_folder(order.out, order.root)
    store = Storage.open(str(order.out / WORK))
    check_access(store)
    model = order.out / WORK / f"model-{order.model.identity}.zip"
    if not model.exists():
        order.model.write(model)
    tracker = Tracker()
    view = View(tracker, console)
    monitor = Monitor(tracker, view)
    with ExitStack() as stack, view:

        def connect() -> Any:
            ray = stack.enter_context(connection.connected(order.address, verbose=order.verbose))
            if monitor.watch_ray is None:
                monitor.watch_ray = stack.enter_context(connection.watched(ray))
            return ray

        preparation = Preparation(
            (cohort,),
            store,
            order.model.description.settings,
            connect,
            monitor,
            order.limits,
            wait_s=order.wait_s,
            find=order.find,
        )
        (listing,) = preparation.run()
        orders = scan_orders(order, listing, store, model)
        left = [one for one in orders if not one.is_done()]
        failed = _write_all(left, connect, monitor, order.wait_s) if left else []
    aside = [record for record in listing.records if record.status != "ok"]
    return _tell(order, len(orders) - len(failed), len(orders) - len(left), aside, failed, console)


def scan_orders(
    order: Order, listing: CohortListing, store: Storage, model: Path
) -> list[ScanOrder]:
    """What workers are told of the scans that could be prepared.

    Raises:
        UsageError: If maps of two scans would have the same names.
    """
    spec = order.model.description.spec
    called = model_label(spec.model, order.score)
    found: list[ScanOrder] = []
    taken: dict[Names, str] = {}
    for task, record in zip(listing.tasks, listing.records, strict=True):
        if record.status != "ok":
            continue
        scan = task.scan
        source = scan.image.relative_to(order.root).as_posix()
        session = label(scan.session) if scan.session else ""
        names = Names(label(scan.subject), session, called)
        if names in taken:
            raise UsageError(
                f"{taken[names]} and {source} would have maps of the same name, as BIDS allows "
                "letters and digits alone; make the maps of one of them in another folder"
            )
        taken[names] = source
        found.append(
            ScanOrder(
                image=scan.image.absolute(),
                volume=scan.volume,
                source=f"bids:raw:{source}",
                record=record,
                store=store.uri,
                model=model.absolute(),
                identity=order.model.identity,
                score=order.score,
                threshold=order.threshold,
                out=order.out.absolute(),
                names=names,
                shares=bool(order.model.counts(order.score)),
                page=order.page,
            )
        )
    return found


def _write_all(
    orders: Sequence[ScanOrder], connect: Any, monitor: Monitor, wait_s: float
) -> list[tuple[ScanRecord, str]]:
    """Make maps as Ray tasks; returns the scans of which there are none, and why.

    Raises:
        StorageError: If maps cannot be written.
    """
    ray = connect()
    remote = ray.remote(num_cpus=1, max_retries=0, **needs(ray))(apply_to)
    patience = Patience(monitor.say, wait_s)
    monitor.begin(Stage.PREPARE, len(orders), "scoring scans")

    def tick() -> None:
        monitor.check()
        patience.check(moves=bool(ray.cluster_resources().get("CPU")))
        monitor.update()

    def run(some: Sequence[ScanOrder], at_once: int) -> list[tuple[ScanOrder, str]]:
        broken = []
        for one, reference in each_ended(ray, remote.remote, some, at_once, tick):
            fault = _fault(ray, reference)
            if fault:
                broken.append((one, fault))
            else:
                monitor.step()
        return broken

    failed = []
    for one, _ in run(orders, 2 * core_count(ray)):
        failed += run([one], 1)  # what broke beside others may do alone
    return [(one.record, fault) for one, fault in failed]


def _fault(ray: Any, reference: Any) -> str:
    """Why a scan has no maps; empty if it has.

    Raises:
        StorageError: If maps cannot be written.
    """
    errors = ray.exceptions
    try:
        ray.get(reference)
    except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError) as error:
        return fault_name(error)
    except errors.LocalRayletDiedError as error:
        raise ConnectionError(connection.RAY_DIED) from error
    except errors.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, StorageError):
            raise cause from error
        if isinstance(cause, ScanError):
            return str(cause)
        return " ".join(f"an error, please report it: {type(cause).__name__}: {cause}".split())
    return ""


def _tell(
    order: Order,
    made: int,
    before: int,
    aside: Sequence[ScanRecord],
    failed: Sequence[tuple[ScanRecord, str]],
    console: PlainConsole,
) -> int:
    faults = [(record, record.reason) for record in aside] + list(failed)
    for record, reason in faults:
        name = scan_name("", record.subject, record.session, record.modality)
        console.print(f"no map of {name}: {reason}", soft_wrap=True)
    total = made + len(faults)
    earlier = f", {before} of them from an earlier run" if before else ""
    console.print(f"{made} of {total} scans have maps in {order.out}{earlier}.", soft_wrap=True)
    if not made:
        return EXIT_BROKE
    return EXIT_SOME_FAILED if faults else 0


def read_threshold(text: str | None, model: AppliedModel, score: str) -> Threshold:
    """A threshold as it was asked for.

    Args:
        text: ``healthy:5%`` or a number; by default the former.
        model: The model.
        score: The score that it is about.

    Raises:
        UsageError: If it is neither, or there are no healthy subjects to choose it by.
    """
    words = threshold_name(USUAL) if text is None else text.strip()
    match = _HEALTHY.fullmatch(words)
    if match:
        percent = float(match[1])
        if not 0 < percent < 100:
            raise UsageError(
                f"a threshold marks between 0 and 100 % of healthy pixels, not {words}"
            )
        value = model.threshold(score, percent / 100)
        n_subjects = len(model.counts(score))
        return Threshold(f"healthy:{percent:g}%", value, model.description.reference, n_subjects)
    try:
        value = float(words)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"a threshold is a number or such as healthy:5%, not {words!r}")
    return Threshold(f"{value:.9g}", value)


app = cli.new_app()


@app.command()
def main(
    scans: Annotated[
        Path | None,
        typer.Argument(metavar="SCAN|BIDS_DIR", help="A scan, or a folder: BIDS, see --source."),
    ] = None,
    out: Annotated[Path | None, typer.Argument(metavar="OUT", help="Folder for the maps.")] = None,
    store: cli.StoreOption = cli.DEFAULT_STORE,
    study: cli.StudyOption = None,
    trial: Annotated[
        str | None, typer.Option(metavar="ID", help="The fit to use, by the beginning of its ID.")
    ] = None,
    best: Annotated[
        str | None,
        typer.Option(metavar="COHORT", help="Use what is best in table 1 on this test cohort."),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The score to show; by default the one that is best."),
    ] = None,
    threshold: Annotated[
        str | None,
        typer.Option(
            metavar="healthy:5%|VALUE",
            help="What a voxel has to reach: the score that 5 % of healthy brain pixels reach (the "
            "default), or a number.",
        ),
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(metavar="|".join(MODALITIES), help="Of the scans, if --best has several."),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Write a page of each scan, to look at in a browser.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE.zip", help="Write the model to a file, to be used elsewhere."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE.zip", help="Use a model that was exported; needs no store."),
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            metavar="NAME", help=f"Layout of a folder of scans: {', '.join(plugin_names(sources))}."
        ),
    ] = "bids",
    address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster; without it, this machine.")
    ] = None,
    wait_for_nodes: cli.WaitOption = WAIT_S,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what Ray has to say.")] = False,
) -> None:
    """Make anomaly maps of scans; running it again goes on and redoes only what changed."""
    go_on_without_reader()
    check_address(address)
    connection.configure(verbose=verbose, address=address)
    if scans is None and export is None:
        raise UsageError("name a scan or a BIDS folder, and a folder for its maps")
    if scans is not None and out is None:
        raise UsageError("name a folder for the maps as well")
    if scans is not None and not scans.exists():
        raise UsageError(f"there is no file or folder {scans}")
    choice = Choice(trial, best, score, _modality(modality))
    found = _model(model, store, study, choice)
    shown = score or found.description.score
    if shown not in found.scores:
        raise UsageError(f"the model has no score {shown!r}; it has: {', '.join(found.scores)}")
    console = new_console()
    if export is not None:
        replace(found, description=found.description.model_copy(update={"score": shown})).write(
            export
        )
        console.print(f"Model: {export}", soft_wrap=True)
    if scans is None or out is None:
        return
    order = Order(
        scans=scans,
        source=source,
        out=out,
        model=found,
        score=shown,
        threshold=read_threshold(threshold, found, shown),
        page=page,
        limits=Limits(),
        address=address,
        verbose=verbose,
        wait_s=wait_for_nodes,
    )
    _introduce(order, console)
    raise typer.Exit(_drive(order, console))


def _modality(name: str | None) -> Modality | None:
    if name is not None and name not in MODALITIES:
        raise UsageError(f"unknown modality {name!r}; choose {either()}")
    return name


def _model(file: Path | None, store: str, study: str | None, choice: Choice) -> AppliedModel:
    if file is None:
        found, record = cli.existing_study(store, study)
        return model_of_study(cli.open_store(store), found, record, choice)
    if choice.trial or choice.cohort:
        raise UsageError("--model has one fit; leave --trial and --best out")
    model = read_model(file)
    if choice.modality not in (None, model.description.spec.modality):
        raise UsageError(
            f"{file} was trained on {model.description.spec.modality} scans, not on "
            f"{choice.modality}"
        )
    return model


def _introduce(order: Order, console: PlainConsole) -> None:
    """Say what is about to be done, and how sure its threshold is."""
    about, threshold = order.model.description, order.threshold
    console.print(
        f"Model: {about.spec.model}, {order.score}, {about.spec.modality}; trial {about.trial_id} "
        f"of the study {about.study!r}.",
        soft_wrap=True,
    )
    chosen = ""
    if threshold.n_subjects:
        who = ", ".join(threshold.cohorts)
        n, s = threshold.n_subjects, "s" if threshold.n_subjects > 1 else ""
        chosen = f", chosen by {n} healthy subject{s} ({who})"
        if threshold.n_subjects < FEW:
            chosen += f"; uncertain below {FEW} subjects"
    console.print(f"Threshold: {threshold.name} = {threshold.value:.6g}{chosen}.", soft_wrap=True)


def _drive(order: Order, console: PlainConsole) -> int:
    cli.end_in_order_on_signals()
    end_orphans()
    try:
        return make_maps(order, console)
    except KeyboardInterrupt:
        console.print(
            "Interrupted; every finished scan is kept. The same command goes on from here."
        )
        return EXIT_INTERRUPTED
