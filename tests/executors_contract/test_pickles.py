"""What cannot travel: found when the graph is compiled, or one item's failure; never the run's."""

from __future__ import annotations

import threading

import pytest

from hush.core import GraphError, Hush, RunError
from hush.errors import RemoteError
from tests.executors_contract import bodies
from tests.executors_contract.places import over


def test_a_function_that_cannot_be_pickled_is_found_before_any_run(place):
    lock = threading.Lock()

    def locked(x, folder):
        with lock:
            return {"y": x}

    with pytest.raises(GraphError) as caught:
        Hush(over(locked, place.make()))
    problems = [one for one in caught.value.problems if one.path == "g.m.n"]
    assert "lock" in problems[0].message
    assert all(one.remedy for one in caught.value.problems)
    assert "g.m.n" in str(caught.value)


async def test_a_closure_travels(place, told):
    by = 10

    def times(x, folder):
        return {"y": by * x}

    result = await Hush(over(times, place.make())).run({"xs": [1, 2], "folder": str(told.folder)})
    assert result["ys"] == [10, 20]


async def test_an_argument_that_cannot_be_pickled_is_its_items_failure(place, told):
    engine = Hush(over(bodies.takes_any, place.make(), on_error="collect"))
    inputs = {"xs": [1, threading.Lock(), "a"], "folder": str(told.folder)}
    result = await engine.run(inputs)
    assert result["ys"] == ["int", None, "str"]
    (error,) = result["errors"]
    assert error["index"] == 1
    assert error["type"].endswith("PayloadError")
    assert "g.m[1]" in error["message"]
    assert "'x'" in error["message"]
    assert "lock" in error["message"]


async def test_a_result_that_cannot_be_pickled_is_its_items_failure(place, told):
    engine = Hush(over(bodies.gives_lock, place.make(), ("y", "z"), on_error="collect"))
    result = await engine.run({"xs": [0, 1, 2], "folder": str(told.folder)})
    assert result["ys"] == [0, None, 4]
    (error,) = result["errors"]
    assert error["index"] == 1
    assert error["type"].endswith("PayloadError")
    assert "g.m[1]" in error["message"]
    assert "'z'" in error["message"]
    assert "lock" in error["message"]


async def test_an_exception_that_cannot_be_unpickled_arrives_with_its_text(place, told):
    engine = Hush(over(bodies.raises_two_arguments, place.make()))
    with pytest.raises(RunError) as caught:
        await engine.run({"xs": [0, 1, 2], "folder": str(told.folder)})
    error = caught.value
    assert "g.m[1].n" in str(error)
    (failure, *_) = error.failures
    assert failure.path == "g.m[1].n"
    assert failure.error_type.endswith("TwoArguments")
    assert failure.message == "a cup, broken"
    cause = error.__cause__
    assert isinstance(cause, RemoteError)
    assert str(cause) == "a cup, broken"
    assert "raises_two_arguments" in cause.traceback


async def test_an_exception_that_can_be_pickled_is_itself(place, told):
    def raises(x, folder):
        raise LookupError("nothing there")

    with pytest.raises(RunError) as caught:
        await Hush(over(raises, place.make())).run({"xs": [0], "folder": str(told.folder)})
    assert type(caught.value.__cause__) is LookupError
