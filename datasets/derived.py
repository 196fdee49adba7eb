"""What tells a map or mask that this project has predicted from one that a person has drawn."""

from __future__ import annotations

from typing import Any

TOOL = "anomaly-study"
"""The name under which the project goes in ``GeneratedBy`` of a JSON file."""

GENERATED_BY = "GeneratedBy"


def is_predicted(sidecar: Any) -> bool:
    """Whether a JSON file says that what lies beside it was made by this project."""
    made_by = sidecar.get(GENERATED_BY) if isinstance(sidecar, dict) else None
    tools = made_by if isinstance(made_by, list) else [made_by]
    return any(isinstance(tool, dict) and tool.get("Name") == TOOL for tool in tools)
