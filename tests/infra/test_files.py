"""The files that start clusters are read by what reads them, and mean what their comments say."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from moto import mock_aws

from study.run import command as run_command
from tests.commands import ROOT
from tests.infra.kuberay import RAY_JOB, pod_templates, wrong_fields

INFRA = ROOT / "infra"
CLUSTERS = ("ray-cluster.yaml", "ray-cluster-aws.yaml")
SCRIPTS = ("slurm.sbatch", "run_recorded.sh")


def _read(name: str) -> str:
    return (INFRA / name).read_text(encoding="utf-8")


def _yaml(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(_read(name))
    return content


def _tool(name: str, *words: str) -> str:
    """What a program among this Python's says of a file; empty if it is content."""
    program = Path(sys.executable).parent / name
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _locked(package: str) -> str:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    match = re.search(rf"^{package}==(\S+)$", lock, re.MULTILINE)
    assert match is not None
    return match[1]


def _docker(word: str) -> list[str]:
    """The arguments of an instruction of the Dockerfile, wherever it stands."""
    return re.findall(rf"^{word} (.*)$", _read("Dockerfile"), re.MULTILINE)


def test_every_file_is_looked_at() -> None:
    known = {*CLUSTERS, *SCRIPTS, "rayjob.yaml", "Dockerfile"}
    assert {path.name for path in INFRA.iterdir()} == known


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_nothing_for_shellcheck_to_find(name: str) -> None:
    assert _tool("shellcheck", str(INFRA / name)) == ""


def test_the_dockerfile_has_nothing_for_hadolint_to_find() -> None:
    assert _tool("hadolint", str(INFRA / "Dockerfile")) == ""


def test_what_the_image_copies_is_there_and_is_all_that_docker_is_sent() -> None:
    sources = {word for copy in _docker("COPY") for word in copy.split()[:-1]}
    assert all((ROOT / source).exists() for source in sources)
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == sources


def test_the_image_has_the_python_that_the_project_asks_for() -> None:
    (base,) = _docker("FROM")
    match = re.fullmatch(r"python:3\.(\d+)-slim-\w+", base)
    assert match is not None
    assert int(match[1]) == sys.version_info.minor
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'requires-python = ">=3.{match[1]},' in project
    assert f"torch=={_locked('torch')}" in _read("Dockerfile")


def test_the_image_runs_as_the_user_that_kubernetes_is_told() -> None:
    assert _docker("USER") == ["${UID}"]
    (uid,) = [arg.partition("=")[2] for arg in _docker("ARG") if arg.startswith("UID=")]
    for template in pod_templates(_yaml("rayjob.yaml")).values():
        pod = template["spec"]["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["runAsUser"] == pod["runAsGroup"] == int(uid) > 0
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in template["spec"]["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is own["privileged"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}


def test_the_job_has_only_fields_that_kuberay_knows() -> None:
    assert list(wrong_fields(_yaml("rayjob.yaml"))) == []
    assert list(wrong_fields({"spec": {"backoffLimits": 1, "jobId": 3}}, RAY_JOB)) == [
        ".spec.backoffLimits is not known",
        ".spec.jobId has to be <class 'str'>: 3",
    ]


def test_the_pods_are_valid_by_the_schema_of_kubernetes() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports what setuptools is about to drop
        import kubernetes_validate

    version = kubernetes_validate.latest_version()
    for name, template in pod_templates(_yaml("rayjob.yaml")).items():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **template}
        kubernetes_validate.validate(pod, version, strict=True)
        pod["spec"] = {**pod["spec"], "volume": []}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(pod, version, strict=True)


def test_the_job_has_the_locked_ray_and_asks_for_a_token() -> None:
    cluster = _yaml("rayjob.yaml")["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == _locked("ray")
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_the_probes_ask_what_ray_answers_without_a_token() -> None:
    from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
    from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS

    pods = pod_templates(_yaml("rayjob.yaml"))
    for name in ("ray-head", "ray-worker"):
        (container,) = pods[name]["spec"]["containers"]
        for probe in ("readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]  # a program of the image would be "exec"
            assert asked["port"] == DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
            assert asked["path"] in PUBLIC_EXACT_PATHS


def test_volumes_are_declared_and_shared_memory_is_memory() -> None:
    pods = pod_templates(_yaml("rayjob.yaml"))
    for name in ("ray-head", "ray-worker"):
        spec = pods[name]["spec"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = spec["containers"][0]["volumeMounts"]
        places = {mount["mountPath"]: volumes[mount["name"]] for mount in mounts}
        assert places["/dev/shm"]["emptyDir"]["medium"] == "Memory"


def test_the_entrypoint_is_a_file_of_the_image_with_options_of_study_run() -> None:
    entrypoint = _yaml("rayjob.yaml")["spec"]["entrypoint"]
    assert not set(entrypoint) & set("|&;<>()$`\\\"'*?[]#~%{}\n")
    program, *options = entrypoint.split()
    (workdir,) = _docker("WORKDIR")
    assert f"COPY infra/{Path(program).name} infra/" in _read("Dockerfile")
    assert program == f"{workdir}/infra/run_recorded.sh"
    assert (INFRA / "run_recorded.sh").stat().st_mode & 0o111 == 0o111
    typer.main.get_command(run_command.app).make_context("study.run", options)


@pytest.mark.parametrize(("status", "seen"), [(0, 0), (1, 1), (2, 2), (3, 0), (130, 130)])
def test_a_finished_study_with_failed_trials_is_not_begun_again(
    tmp_path: Path, status: int, seen: int
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@"\nexit {status}\n')
    python.chmod(0o755)
    words = [str(INFRA / "run_recorded.sh"), "--grid", "a b"]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == seen
    assert done.stdout.startswith("-m study.run --grid a b\n")
    assert ("which are recorded" in done.stdout) == (status == 3)


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_file_is_valid_by_rays_own_schema(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(_yaml(name))
    validate_config(config)
    own = ("initialization_commands", "setup_commands", "head_setup_commands")
    assert [config[key] for key in (*own, "worker_setup_commands")] == [[]] * 4


def test_ray_would_start_machines_of_aws_and_open_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.autoscaler._private.util import prepare_config

    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "test")
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray keeps the key pair there that it makes
    with mock_aws():
        import boto3
        from ray.autoscaler._private.aws.config import bootstrap_aws

        region = "eu-central-1"
        ec2 = boto3.resource("ec2", region_name=region)
        group = ec2.create_security_group(GroupName="own", Description="own")
        names = {"REGION": region, "sg-EDIT": group.id}
        text = _read("ray-cluster-aws.yaml")
        for name, value in names.items():
            text = re.sub(rf"(?<=[ \[]){name}(?=[\]\n])", value, text)
        config = bootstrap_aws(prepare_config(yaml.safe_load(text)))
        for kind in config["available_node_types"].values():
            assert kind["node_config"]["SecurityGroupIds"] == [group.id]
            assert kind["node_config"]["IamInstanceProfile"] == {"Name": "INSTANCE_PROFILE"}
        assert config["provider"]["cache_stopped_nodes"] is False
        groups = {found.group_name: found.ip_permissions for found in ec2.security_groups.all()}
        assert groups == {"default": [], "own": []}


def _starts(name: str) -> list[str]:
    """The commands of a file that start Ray, comments aside."""
    if name == "slurm.sbatch":
        text = re.sub(r"^ *#.*$", "", _read(name), flags=re.MULTILINE).replace("\\\n", " ")
        return [line for line in text.splitlines() if re.search(r"\bray start\b", line)]
    content = _yaml(name)
    commands = [*content["head_start_ray_commands"], *content["worker_start_ray_commands"]]
    return [command for command in commands if "ray start" in command]


@pytest.mark.parametrize("name", [*CLUSTERS, "slurm.sbatch"])
def test_every_start_of_ray_asks_for_a_token(name: str) -> None:
    starts = _starts(name)
    assert len(starts) == 2
    if name == "slurm.sbatch":
        before = _read(name).partition("\nray start")[0]
        assert "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$job/token" in before
        return
    for start in starts:
        assert shlex.split(start)[:3] == ["RAY_AUTH_MODE=token", "ray", "start"]
        assert "--disable-usage-stats" in shlex.split(start)
    content = _yaml(name)
    assert content["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "--env RAY_AUTH_MODE=token" in content["docker"]["run_options"]
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in starts[0]


@pytest.mark.parametrize("path", sorted(INFRA.iterdir()), ids=lambda path: path.name)
def test_nothing_listens_on_all_addresses(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "0.0.0.0" not in text
    assert "[::]" not in text


def test_machines_find_the_head_where_it_listens() -> None:
    for name in CLUSTERS:
        head, worker = _starts(name)
        port = re.search(r"--port=(\d+)", head)
        assert port is not None
        assert f"--address=$RAY_HEAD_IP:{port[1]} " in worker
    pod = pod_templates(_yaml("rayjob.yaml"))["ray-head"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in pod["ports"]}
    assert ports == {"gcs-server": 6379, "dashboard": 8265, "client": 10001}


def test_what_ray_up_calls_in_the_image_is_installed_there() -> None:
    for package in ("openssh-client", "rsync"):
        assert re.search(rf"apt-get install .*\b{package}\b", _read("Dockerfile"))
    assert _locked("boto3")


PLACEHOLDERS = {
    "ray-cluster.yaml": {"HEAD_HOST", "WORKER_HOST_1", "WORKER_HOST_2", "USER", "REGISTRY"},
    "ray-cluster-aws.yaml": {"REGION", "REGISTRY", "INSTANCE_PROFILE", "BUCKET", "sg-EDIT"},
    "rayjob.yaml": {"REGISTRY", "BUCKET"},
}


@pytest.mark.parametrize("name", PLACEHOLDERS)
def test_what_is_to_be_edited_is_said(name: str) -> None:
    text = _read(name)
    assert "To edit:" in text
    found = set(re.findall(r"\b[A-Z]+(?:_[A-Z0-9]+)+\b|\bREG[A-Z]+\b|\bUSER$|sg-EDIT", text, re.M))
    found = {name for name in found if not name.startswith(("RAY_", "AWS_", "TORCH_"))}
    assert found | {"BUCKET", "USER"} & PLACEHOLDERS[name] == PLACEHOLDERS[name]
    explained = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    assert {name for name in PLACEHOLDERS[name] if f"`{name}`" not in explained} == set()


def test_ports_of_a_slurm_job_are_its_own() -> None:
    text = _read("slurm.sbatch")
    block = re.search(r"base=\$\(\((\d+) \+ SLURM_JOB_ID % (\d+) \* (\d+)\)\)", text)
    assert block is not None
    lowest, blocks, size = map(int, block.groups())
    single = [int(n) for n in re.findall(r"(?<!worker-)port=\$\(\(base \+ (\d+)\)\)", text)]
    first, last = (int(n) for n in re.findall(r"-worker-port=\$\(\(base \+ (\d+)\)\)", text))
    assert len(single) == len(set(single)) == 7
    assert 0 < min(single) <= max(single) < first < last < size
    assert lowest >= 1024
    assert lowest + blocks * size <= 32768, "Linux gives ports from there to connections"
    session = "session_2026-12-31_23-59-59_999999_4194304"
    longest = f"/tmp/ray-4294967295/{session}/sockets/plasma_store.99"
    assert len(longest) < 107


def test_slurm_takes_the_script() -> None:
    if shutil.which("sbatch") is None:
        pytest.skip("there is no sbatch (Slurm)")
    if subprocess.run(["sinfo"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no Slurm controller answers")
    words = ["sbatch", "--test-only", str(INFRA / "slurm.sbatch")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
