"""The fields of KubeRay's RayJob that its files may have, as of KubeRay 1.5."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

POD = "a pod template, which Kubernetes' own schema checks"

_GROUP = {
    "template": POD,
    "rayStartParams": dict[str, str],
    "resources": dict[str, str],
    "labels": dict[str, str],
}

_CLUSTER: dict[str, Any] = {
    "rayVersion": str,
    "authOptions": {"mode": str, "secretName": str},
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": {
        "version": str,
        "idleTimeoutSeconds": int,
        "upscalingMode": str,
        "image": str,
        "imagePullPolicy": str,
        "securityContext": dict,
        "resources": dict,
        "env": list,
        "envFrom": list,
        "volumeMounts": list,
    },
    "gcsFaultToleranceOptions": dict,
    "headServiceAnnotations": dict[str, str],
    "suspend": bool,
    "managedBy": str,
    "headGroupSpec": {**_GROUP, "serviceType": str, "headService": dict, "enableIngress": bool},
    "workerGroupSpecs": [
        {
            **_GROUP,
            "groupName": str,
            "replicas": int,
            "minReplicas": int,
            "maxReplicas": int,
            "idleTimeoutSeconds": int,
            "numOfHosts": int,
            "scaleStrategy": dict,
            "suspend": bool,
        }
    ],
}

RAY_JOB: dict[str, Any] = {
    "apiVersion": str,
    "kind": str,
    "metadata": dict,
    "spec": {
        "entrypoint": str,
        "entrypointNumCpus": float,
        "entrypointNumGpus": float,
        "entrypointResources": str,
        "runtimeEnvYAML": str,
        "metadata": dict[str, str],
        "jobId": str,
        "submissionMode": str,
        "submitterPodTemplate": POD,
        "submitterConfig": {"backoffLimit": int},
        "backoffLimit": int,
        "activeDeadlineSeconds": int,
        "preRunningDeadlineSeconds": int,
        "ttlSecondsAfterFinished": int,
        "shutdownAfterJobFinishes": bool,
        "deletionStrategy": dict,
        "suspend": bool,
        "managedBy": str,
        "clusterSelector": dict[str, str],
        "rayClusterSpec": _CLUSTER,
    },
}


def wrong_fields(value: Any, kind: Any = RAY_JOB, path: str = "") -> Iterator[str]:
    """A word for each field that is not known, or is of another kind.

    Args:
        value: What the file has there.
        kind: What may be there: a type, a table of fields, or a list of one kind.
        path: Where that is.
    """
    if kind is POD:
        return
    if isinstance(kind, dict) and isinstance(value, dict):
        for name, item in value.items():
            if name in kind:
                yield from wrong_fields(item, kind[name], f"{path}.{name}")
            else:
                yield f"{path}.{name} is not known"
    elif isinstance(kind, list) and isinstance(value, list):
        for number, item in enumerate(value):
            yield from wrong_fields(item, kind[0], f"{path}[{number}]")
    elif kind == dict[str, str]:
        if not isinstance(value, dict) or not all(type(v) is str for v in value.values()):
            yield f"{path} has to have texts alone: {value!r}"
    elif type(value) is not kind:
        yield f"{path} has to be {kind}: {value!r}"


def pod_templates(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The pods of a job, by the name of their first container."""
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    templates = [spec["submitterPodTemplate"], cluster["headGroupSpec"]["template"]]
    templates += [group["template"] for group in cluster["workerGroupSpecs"]]
    return {template["spec"]["containers"][0]["name"]: template for template in templates}
