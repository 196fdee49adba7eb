"""Maps of many scans: prepared as a study's, then scored, a Ray task a scan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from datasets.access import check_access
from datasets.errors import ScanError
from datasets.manifest import ScanRecord
from datasets.scan import Listing, Modality, Scan
from datasets.storage import Storage, StorageError
from study.apply.folder import WORK, Names, label, model_label, open_folder
from study.apply.model import AppliedModel
from study.apply.scan import ScanOrder, Threshold, apply_to
from study.cluster import connection
from study.cluster.nodes import core_count
from study.cluster.patience import WAIT_S, Patience
from study.cluster.tasks import each_ended
from study.errors import EXIT_BROKE, EXIT_SOME_FAILED, UsageError
from study.prepare.cohorts import Cohort
from study.prepare.found import list_cohort
from study.prepare.limits import Limits
from study.prepare.listing import CohortListing, scan_name
from study.prepare.preparation import Preparation
from study.prepare.scans import fault_name, needs
from study.prepare.session import at_work
from study.progress.monitor import Monitor
from study.records.heartbeats import Stage
from study.terminal import PlainConsole

COHORT = "scans"
"""What stands for a cohort's name where scans are prepared."""


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
    listed = order.find(cohort)  # before anything is written
    open_folder(order.out, order.root)
    store = Storage.open(str(order.out / WORK))
    check_access(store)
    model = order.out / WORK / f"model-{order.model.identity}.zip"
    if not model.exists():
        order.model.write(model)
    with at_work(console, order.address, verbose=order.verbose) as (monitor, connect):
        preparation = Preparation(
            (cohort,),
            store,
            order.model.description.settings,
            connect,
            monitor,
            order.limits,
            wait_s=order.wait_s,
            find=lambda _: listed,
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
    shares = order.model.healthy_pixels(order.score) is not None
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
                shares=shares,
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
