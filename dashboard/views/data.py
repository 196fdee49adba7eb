"""Data: examples of every cohort (figure 2 of the paper), counts, volumes, scans set aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import pyarrow as pa
import streamlit as st

from dashboard import state
from dashboard.charts import volume_figure
from dashboard.data import manifest, scan_slices
from dashboard.figures import chart
from dashboard.frame import Frame, current, empty, problem, synthetic_note, title, wide
from dashboard.map_charts import TRUTH_COLOUR, MapPanel, map_row, row_width
from dashboard.maps import outline
from dashboard.text import markdown_text
from datasets.manifest import CohortManifest, ScanRecord
from datasets.scan import Role
from datasets.storage import StorageError
from study.prepare.losses import (
    lesion_in_dropped_slices_share,
    lesion_lost_by_resizing_share,
    lesion_outside_brain_share,
)
from study.records.types import CohortInfo
from study.terminal import counted

EXAMPLES = 6
_LARGEST = 190


@dataclass(frozen=True)
class _Cohort:
    """A cohort of one modality and what the store has of its shards."""

    info: CohortInfo
    manifest: CohortManifest | None

    @property
    def name(self) -> str:
        return f"{self.info.name} {self.info.modality}"

    @property
    def usable(self) -> list[ScanRecord]:
        found = self.manifest.records if self.manifest else ()
        return [record for record in found if record.status == "ok"]


def main() -> None:
    """Draw the page."""
    frame = current()
    of = "What the study trains and tests on" if frame.study else "Scans that no study uses yet"
    title("Data", f"{of}, after preprocessing.")
    cohorts = _cohorts(frame)
    if not cohorts:
        empty("The study names no cohorts", "Run `python -m study.run` to plan it again.")
        return
    _counts(cohorts)
    synthetic_note(frame)
    if not any(cohort.manifest for cohort in cohorts):
        empty(
            "The slices of these cohorts are not in this store",
            "Examples and brain volumes appear when the store's `shards` folder is there: run "
            "`python -m study.prepare` with the same store.",
        )
        return
    _lesions(cohorts)
    _examples(frame, cohorts)
    left, right = st.columns([3, 2], gap="large")
    with left:
        _volumes(cohorts)
    with right:
        _set_aside(cohorts)


def _cohorts(frame: Frame) -> list[_Cohort]:
    found = []
    order = get_args(Role)
    for info in sorted(frame.cohorts, key=lambda c: (order.index(c.role), c.name, c.modality)):
        try:
            shards = manifest(frame.uri, info.key)
        except StorageError as error:
            problem(str(error))
            shards = None
        found.append(_Cohort(info, shards))
    return found


def _counts(cohorts: list[_Cohort]) -> None:
    rows = [
        {
            "Cohort": markdown_text(c.info.name),
            "Modality": c.info.modality,
            "Role": c.info.role,
            "Source": "synthetic phantom" if c.info.synthetic else markdown_text(c.info.source),
            "Subjects": f"{c.info.n_subjects:,}",
            "Scans": f"{c.info.n_scans:,}",
            "Slices": f"{c.info.n_slices:,}",
            "Set aside": f"{c.info.n_quarantined:,}",
        }
        for c in cohorts
    ]
    st.table(pa.Table.from_pylist(rows), border="horizontal", hide_index=True)


def _lesions(cohorts: list[_Cohort]) -> None:
    """What of the lesions no slice shows, or only outside the brain."""
    rows = [
        {
            "Cohort": markdown_text(c.name),
            "Lesion outside brain": _share(lesion_outside_brain_share(c.manifest)),
            "Lost by resizing": _share(lesion_lost_by_resizing_share(c.manifest)),
            "In slices left out": _share(lesion_in_dropped_slices_share(c.manifest)),
            "Largest loss by resizing": _largest(c.usable),
        }
        for c in cohorts
        if c.manifest and any(r.lesion_volume_ml for r in c.usable)
    ]
    if not rows:
        return
    st.header("Lesions", anchor=False)
    st.table(pa.Table.from_pylist(rows), border="horizontal", hide_index=True)
    st.caption(
        "Shares of the lesion volume. Lost by resizing: between the scans' voxels and the pixels "
        "of the slices; below 0 if lesions grew."
    )


def _largest(records: list[ScanRecord]) -> str:
    """The scan that lost the largest share of its lesion by resizing, such as ``03: 13.6 %``."""
    shares = [
        (r.lesion_lost_by_resizing_share, r.subject)
        for r in records
        if r.lesion_lost_by_resizing_share is not None
    ]
    if not shares:
        return "—"
    share, subject = max(shares)
    return f"{markdown_text(subject)}: {_share(share)}"


def _share(value: float | None) -> str:
    return "—" if value is None else f"{100 * value:.1f} %"


def _examples(frame: Frame, cohorts: list[_Cohort]) -> None:
    st.header("Examples", anchor=False)
    most = max((len(c.usable) for c in cohorts), default=0)
    first = 0
    if most > EXAMPLES:
        starts = list(range(0, most, EXAMPLES))
        first = state.select(
            "Subjects",
            "examples",
            starts,
            show=lambda i: f"{i + 1} to {min(i + EXAMPLES, most)}",
            width=180,
        )
    for number, cohort in enumerate(cohorts):
        records = sorted(cohort.usable, key=lambda r: (r.subject, r.session))
        shown = records[first : first + EXAMPLES]
        if not shown:
            continue
        tag = " · synthetic phantom" if cohort.info.synthetic else ""
        st.markdown(f"**{markdown_text(cohort.name)}** · {cohort.info.role}{tag}")
        panels = []
        for record in shown:
            try:
                panels.append(_panel(frame, record))
            except StorageError as error:
                problem(str(error))
        if not panels:
            continue
        with wide(f"examples-{number}", row_width(EXAMPLES, _LARGEST)):
            chart(
                map_row(panels, _LARGEST, slots=EXAMPLES),
                f"examples {number}",
                None,
                f"One slice of each of {counted(len(shown), 'subject')} of {cohort.name}",
            )
    st.caption("Blue outline: lesion. The slice with the largest lesion, or the middle one.")


def _panel(frame: Frame, record: ScanRecord) -> MapPanel:
    scan = scan_slices(frame.uri, record)
    area = scan.lesion_NHW.sum(axis=(1, 2))
    row = int(area.argmax()) if area.any() else len(area) // 2
    image = scan.images_NHW[row]
    high = float(np.percentile(image[scan.brain_NHW[row]], 99.7))
    drawn = (*outline(scan.lesion_NHW[row]), TRUTH_COLOUR)
    name = " ".join(part for part in (record.subject, record.session) if part)
    index = int(scan.slice_index_N[row])
    return MapPanel(f"{name}\nslice {index}", image, "image", 0.0, high, (drawn,), grey=True)


def _volumes(cohorts: list[_Cohort]) -> None:
    st.header("Brain volumes", anchor=False)
    groups = [
        (c.name, [r.brain_volume_ml for r in c.usable if r.brain_volume_ml is not None])
        for c in cohorts
    ]
    groups = [(name, volumes) for name, volumes in groups if volumes]
    if not groups:
        st.caption("No volumes are recorded.")
        return
    chart(
        volume_figure(groups),
        "volumes",
        None,
        "Brain volumes in millilitres by cohort",
    )


def _set_aside(cohorts: list[_Cohort]) -> None:
    rows = [
        {"Cohort": c.name, "Scan": r.subject, "Why": r.reason, "File": r.image}
        for c in cohorts
        for r in (c.manifest.records if c.manifest else ())
        if r.status != "ok"
    ]
    rows += [
        {"Cohort": c.name, "Scan": "", "Why": reason, "File": path}
        for c in cohorts
        for path, reason in (c.manifest.skipped if c.manifest else ())
    ]
    st.header(f"Scans set aside ({len(rows)})", anchor=False)
    if rows:
        st.dataframe(pa.Table.from_pylist(rows), hide_index=True, key="set aside")
    else:
        st.caption("None: every scan that was found is used.")


main()
