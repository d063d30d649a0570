"""The places that every test of the contract is for."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

from hush import executors
from hush.runtime.remote import exchange
from tests.executors_contract.bodies import let_go
from tests.executors_contract.places import SLOTS, Place, Told, cluster


@pytest.fixture(scope="session")
def dask_cluster():
    """A cluster that all share, and a client that knows whether its workers are there."""
    distributed = pytest.importorskip("distributed")
    with (
        cluster("dask_cluster") as address,
        distributed.Client(address, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def dask_address(dask_cluster):
    """Its address; a worker that the test before has killed is there again."""
    dask_cluster.wait_for_workers(SLOTS, timeout=20)
    return dask_cluster.scheduler.address


@pytest.fixture(scope="session")
def ray_address():
    # One of a test on loopback; with its tokens each process would need a file with them.
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with cluster("ray_cluster") as address:
        yield address


PLACES = ["processes", "dask"]
if find_spec("ray"):
    PLACES.append(pytest.param("ray", marks=pytest.mark.ray))


@pytest.fixture(params=PLACES)
def place(request):
    """One executor after the other."""
    if request.param == "processes":
        return Place("processes", lambda: executors.Processes(SLOTS), f"Processes({SLOTS})")
    address = request.getfixturevalue(f"{request.param}_address")
    kind = {"dask": "DaskExecutor", "ray": "RayExecutor"}[request.param]
    return Place(request.param, lambda: getattr(executors, kind)(address), f"{kind}({address!r})")


@pytest.fixture
def told(tmp_path):
    """What bodies told; those that wait are let go in the end, or shared workers stay busy."""
    yield Told(tmp_path)
    let_go(tmp_path)


@pytest.fixture
def impatient(monkeypatch):
    """Take a worker for lost a second after its time is over, instead of ten."""
    monkeypatch.setattr(exchange, "PATIENCE_S", 1.0)
