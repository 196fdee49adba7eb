"""What a study was made with, for the pages whose figures need it."""

from __future__ import annotations

import pyarrow as pa
import streamlit as st

from dashboard.frame import Frame


def provenance(frame: Frame) -> None:
    """Versions, machine and data keys behind the figures, folded until somebody asks."""
    record = frame.record
    made = record.provenance
    icon = ":material/history:"
    with st.expander("Provenance", key="provenance open", icon=icon, on_change="rerun") as box:
        if not box.open:
            return
        facts = {
            "grid": record.grid,
            "first run": record.created,
            "latest run": record.updated,
            "git revision": made.git_revision or "not a git checkout",
            "host": made.host,
            "device": f"{made.device} {made.cpu}".strip(),
            "Python": made.python,
            **{f"package {name}": version for name, version in sorted(made.packages.items())},
        }
        pairs = {"What": list(facts), "Value": [str(v) for v in facts.values()]}
        st.dataframe(pa.table(pairs), hide_index=True, key="provenance")
        data = [
            {
                "cohort": c.name,
                "modality": c.modality,
                "role": c.role,
                "source": c.source,
                "synthetic": c.synthetic,
                "data key": c.key,
            }
            for c in record.cohorts
        ]
        if data:
            st.dataframe(pa.Table.from_pylist(data), hide_index=True, key="data keys")
