"""What Ray tells of nodes, for tests that start none."""

from __future__ import annotations

from typing import Any


class Cluster:
    """What Ray tells of some nodes."""

    def __init__(self, *nodes: dict[str, float]) -> None:
        self.resources = list(nodes)

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "NodeID": f"n{number}",
                "NodeManagerAddress": f"10.0.0.{number}",
                "Alive": True,
                "Resources": resources,
            }
            for number, resources in enumerate(self.resources)
        ]
