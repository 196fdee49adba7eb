"""Studies on a cluster of machines that share a network and a bucket, some of which die."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datasets.storage import Storage
from study.records.studies import StudyStore
from study.records.types import FitRecord
from tests.cluster.bucket import Moment
from tests.cluster.namespaces import DATA, why_not
from tests.cluster.nodes import ADDRESSES, GCS, WORKERS, Cluster
from tests.commands import Command, wait_until
from tests.faults.cluster import STARTED
from tests.grids import SMOKE_WORDS
from tests.heads import write_cohorts
from tests.stores import study_content

pytestmark = pytest.mark.slow

_TRIAL = r"studies/smoke[^/]*/trials/(\w+)"
_MOST_S = 300.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def _study(cluster: Cluster, folder: str, name: str) -> StudyStore:
    return StudyStore.open(Storage.open(cluster.bucket.uri_here(folder)), name)


def _fits(study: StudyStore) -> dict[str, FitRecord]:
    found = {name: study.trial(name).fit() for name in study.storage.names("trials")}
    return {name: fit for name, fit in found.items() if fit is not None}


def _records(study: StudyStore) -> dict[tuple[str, str], bytes]:
    """Every finished fit's and evaluation's record, by trial and name."""
    found = {}
    for trial in study.storage.names("trials"):
        for path in study.trial(trial).storage.files():
            if path.endswith("manifest.json"):
                found[trial, path] = study.trial(trial).storage.read(path)
    return found


def _rows(run: Callable[..., Command], store: str | Path) -> list[dict[str, object]]:
    report = run("study.report", "--store", store, "--format", "json")
    rows: list[dict[str, object]] = json.loads(report.out)["rows"]
    return rows


def _met(moment: Moment, command: Command) -> str:
    """The trial at whose file the moment came."""
    wait_until(lambda: moment.has_come or command.status is not None, _MOST_S)
    if moment.match is None:
        pytest.fail(f"the moment did not come\n{command.describe()}")
    wait_until(lambda: moment.has_come, _MOST_S)
    return moment.match[1]


_CLIENT = f"""
import ray
ray.init("ray://{ADDRESSES["head"]}:10001", logging_level="ERROR")
print(ray.get(ray.put(7)))
"""
"""Uses the cluster from outside."""

_DRIVER = f"""
from ray._raylet import GcsClient
print("dead:", GcsClient(address="{GCS}").check_alive([], timeout=30))
"""
"""Asks the cluster's centre something, as a driver does first."""


def test_only_who_has_the_token_is_let_in(cluster: Cluster) -> None:
    def knock(token: str | None, mode: str) -> list[Command]:
        ways = {"RAY_AUTH_MODE": mode, "RAY_CLIENT_MAX_CONNECTION_TIMEOUT_S": "5"}
        return [
            cluster.client("python", "-c", code, token=token, **ways) for code in (_CLIENT, _DRIVER)
        ]

    client, driver = knock("", "token")
    for command in (client, driver):  # before others load the machine: Ray does not wait for long
        status = command.wait(_MOST_S)
        assert status == 0, (command.describe(), cluster.ray_logs("head", "ray_client_server*"))
    assert (client.out, driver.out) == ("7\n", "dead: []\n")
    others = [(None, "token"), ("0" * 64, "token"), (None, "disabled"), ("", "disabled")]
    shut_out = [command for other in others for command in knock(*other)]
    words = ("--grid", "smoke", "--store", cluster.bucket.uri("never"))
    submitted = [cluster.submit(*words, token=token) for token in (None, "0" * 64)]
    for command in [*shut_out, *submitted]:
        assert command.wait(_MOST_S) != 0, command.describe()
        assert command.out == ""
    for command in submitted:
        assert "refused this user" in command.err
        assert "Traceback" not in command.err
    assert Storage.open(cluster.bucket.uri_here("never")).names("studies") == ()


@pytest.mark.parametrize("token", [None, "0" * 64])
def test_a_machine_without_the_token_cannot_join(cluster: Cluster, token: str | None) -> None:
    stranger = cluster.begin_stranger(token)
    assert stranger.wait(_MOST_S) != 0, stranger.describe()
    assert STARTED not in stranger.out


def test_after_the_head_has_died_the_same_submission_goes_on(cluster: Cluster) -> None:
    cohorts = write_cohorts(cluster.data, 4, 2)
    # The user's own file, which travels; the roots are the machines' folders.
    cohorts.write_text(cohorts.read_text().replace('root = "', f'root = "{DATA}/'))
    words = ("--grid", "smoke", "--epochs", "1", "--precision", "float32", "--study", "smoke")
    words = (*words, "--cohorts", str(cohorts))
    words = (*words, "--store", cluster.bucket.uri("two"))
    struck = cluster.bucket.at(
        Moment(rf"two/{_TRIAL}/manifest\.json", lambda _: cluster.kill("head"), skip=2)
    )
    first = cluster.submit(*words)
    trial = _met(struck, first)
    for name in WORKERS:
        cluster.kill(name)
    assert first.wait(_MOST_S) != 0, first.describe()
    study = _study(cluster, "two", "smoke")
    finished = _records(study)
    assert trial in {name for name, _ in finished}
    cluster.start()
    second = cluster.submit(*words)
    assert second.wait(_MOST_S) == 0, second.describe()
    after = _records(study)
    assert len(after) > len(finished)
    assert {name: after[name] for name in finished} == finished


def test_a_study_outlives_a_machine_and_ends_as_on_one(
    cluster: Cluster, smoke_store: Path, run: Callable[..., Command]
) -> None:
    name_of = {address: name for name, address in ADDRESSES.items()}
    struck = cluster.bucket.at(
        Moment(
            rf"one/{_TRIAL}/checkpoint\.json",
            lambda address: cluster.kill(name_of[address]),
            after=rf"one/{_TRIAL}/manifest\.json",
        )
    )
    command = cluster.submit(*SMOKE_WORDS, "--store", cluster.bucket.uri("one"))
    trial = _met(struck, command)
    assert command.wait(_MOST_S) == 0, command.describe()
    study = _study(cluster, "one", "smoke-phantom")
    fits = _fits(study)
    (survivor,) = set(WORKERS) - {name_of[struck.address]}
    assert fits[trial].provenance.host == survivor
    assert fits[trial].attempts > 1
    assert {fit.provenance.host for fit in fits.values()} == set(WORKERS)
    copied = [(copy.host, copy.slices) for copy in study.copies()]
    assert len(copied) == len(set(copied)), "each node copies each set once"
    assert {host: sum(h == host for h, _ in copied) for host in WORKERS} == dict.fromkeys(
        WORKERS, 5
    )
    alone = StudyStore.open(Storage.open(str(smoke_store)), "smoke-phantom")
    assert study_content(study) == study_content(alone)
    assert _rows(run, cluster.bucket.uri_here("one")) == _rows(run, smoke_store)
