"""Faults: an error of a worker in the driver is what it was, or stands for it faithfully."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

from hush.core import Failure, JoinError, NodeError, NodeTimeoutError, RemoteError, Retry
from hush.errors import GraphError, LLMStatusError, Problem, type_name
from hush.runtime.failing import BodyFailedError
from hush.runtime.remote.faults import (
    CHAIN,
    EXCEPTION_BYTES,
    TRACEBACK_LIMIT,
    fault_of,
    faults_of,
    interrupt_of,
    unpack_fault,
)


class TwoArgumentsError(Exception):
    """Unpickles by one argument, and so not at all."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class HoldsALockError(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.hint = "a hint"


class RaisesOnLoadError(Exception):
    def __reduce__(self) -> Any:
        return _explode, ()


class ExitsOnLoadError(Exception):
    def __reduce__(self) -> Any:
        return (int, ("7",))


class RefusesAttributesError(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class LiesError(Exception):
    """Comes back, but as another."""

    def __reduce__(self) -> Any:
        return (LiesError, ("something else",))


def _explode() -> None:
    raise OSError("unpickled")


def travelled(error: Exception) -> Any:
    return unpack_fault(faults_of(error, "g.m[3].f")[0])


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_an_ordinary_exception_arrives_as_itself() -> None:
    failure = travelled(raised(KeyError("k")))
    assert (failure.path, failure.kind, failure.index) == ("g.m[3].f", "raised", 3)
    assert (failure.error_type, failure.message) == ("KeyError", "'k'")
    assert type(failure.exception) is KeyError
    assert failure.exception.args == ("k",)
    (note,) = failure.exception.__notes__
    assert note.startswith("In the worker:\nTraceback")
    assert "in raised" in note


@pytest.mark.parametrize(
    "error",
    [
        TwoArgumentsError(7, "no"),
        HoldsALockError("held"),
        RaisesOnLoadError("boom"),
        ExitsOnLoadError("odd"),
        LiesError("the truth"),
    ],
)
def test_what_does_not_survive_has_a_faithful_stand_in(error: Exception) -> None:
    failure = travelled(raised(error))
    stand_in = failure.exception
    assert isinstance(stand_in, RemoteError)
    assert isinstance(stand_in, type(error)), "except and retry= find it"
    assert failure.error_type == type_name(error) == type_name(stand_in)
    assert str(stand_in) == failure.message
    assert "in raised" in stand_in.traceback
    assert Retry(2, on=type(error)).matches(stand_in)


def test_an_exception_without_a_text_arrives_too() -> None:
    failure = travelled(raised(UnprintableError()))
    assert type(failure.exception) is UnprintableError
    assert failure.message == "<unprintable UnprintableError>"


def test_a_stand_in_has_the_attributes_that_could_travel() -> None:
    two = travelled(TwoArgumentsError(7, "no")).exception
    assert (two.code, two.reason) == (7, "no")
    held = travelled(HoldsALockError("held")).exception
    assert held.hint == "a hint"
    assert not hasattr(held, "lock")


def test_a_class_that_cannot_travel_leaves_type_text_and_traceback() -> None:
    lock = threading.Lock()

    class LocalError(Exception):
        where = lock

    failure = travelled(raised(LocalError("here")))
    assert type(failure.exception) is RemoteError
    assert failure.error_type.endswith("LocalError")
    assert str(failure.exception) == "here"
    assert type_name(failure.exception) == failure.error_type
    assert "in raised" in failure.exception.traceback


def test_a_class_that_is_not_here_leaves_type_text_and_traceback() -> None:
    from dataclasses import replace

    fault = fault_of(raised(ValueError("x")), "g.f")
    failure = unpack_fault(replace(fault, exception=b"cnosuchmodule\nThing\n."))
    assert type(failure.exception) is RemoteError
    assert (failure.exception.error_type, failure.exception.message) == ("ValueError", "x")
    assert failure.index is None


def test_causes_and_contexts_come_along() -> None:
    try:
        try:
            raise TwoArgumentsError(1, "first")
        except TwoArgumentsError as first:
            raise ValueError("second") from first
    except ValueError as error:
        back = travelled(error).exception
    assert type(back) is ValueError
    assert isinstance(back.__cause__, TwoArgumentsError)
    assert str(back.__cause__) == "1: first"
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second")  # noqa: B904
    except ValueError as error:
        back = travelled(error).exception
    assert isinstance(back.__context__, KeyError)
    assert back.__cause__ is None


def test_an_endless_chain_ends() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    back = travelled(one).exception
    assert str(back.__cause__) == "two"
    long: Exception = ValueError("0")
    for i in range(3 * CHAIN):
        outer = ValueError(str(i + 1))
        outer.__cause__ = long
        long = outer
    at, count = travelled(long).exception, 0
    while at is not None:
        at, count = at.__cause__, count + 1
    assert count == CHAIN


def test_a_group_arrives_with_its_members() -> None:
    group = ExceptionGroup("two", [ValueError("a"), TwoArgumentsError(2, "b")])
    back = travelled(group).exception
    assert isinstance(back, ExceptionGroup)
    assert isinstance(back.exceptions[0], ValueError)
    assert isinstance(back.exceptions[1], TwoArgumentsError)


def test_our_own_errors_arrive_as_themselves() -> None:
    inner = Failure("g.a", "raised", "x", "y", exception=TwoArgumentsError(3, "in a join"))
    for error in (
        NodeTimeoutError("g.f", "timeout_s=1 was exceeded"),
        LLMStatusError("g.f", "status 500", status=500, resource="llm:a"),
        GraphError("g", [Problem("cycle", "g.f", "is one", "Remove it")]),
        JoinError("g.f", "cannot be met", [inner]),
    ):
        failure = travelled(error)
        assert type(failure.exception) is type(error), error
        assert failure.message == str(error)
        assert failure.kind == ("timeout" if isinstance(error, NodeTimeoutError) else "raised")
    back = travelled(JoinError("g.f", "cannot be met", [inner])).exception
    assert isinstance(back.failures[0].exception, TwoArgumentsError)
    assert isinstance(travelled(NodeTimeoutError("g.f", "x")).exception, NodeError)


def test_all_failures_of_a_body_arrive_in_order() -> None:
    failures = [
        Failure("g.m[3].a", "raised", "ValueError", "a", 3, 2, exception=ValueError("a")),
        Failure("g.m[3].n[7].b", "raised", "KeyError", "b", 7, 1, exception=KeyError("b")),
    ]
    back = [unpack_fault(one) for one in faults_of(BodyFailedError(failures, None), "g.m[3]")]
    assert [(one.path, one.index, one.attempts) for one in back] == [
        ("g.m[3].a", 3, 2),
        ("g.m[3].n[7].b", 7, 1),
    ]


def test_a_handled_failure_has_no_exception() -> None:
    failure = Failure("g.m[0]", "handled", "handled", "said so", 0)
    (fault,) = faults_of(BodyFailedError([failure], None), "g.m[0]")
    assert unpack_fault(fault) == failure
    assert unpack_fault(fault).exception is None


def test_what_is_too_large_does_not_travel() -> None:
    error = ValueError("big")
    error.payload = b"x" * (EXCEPTION_BYTES + 1)  # type: ignore[attr-defined]
    back = travelled(error)
    assert isinstance(back.exception, ValueError)
    assert isinstance(back.exception, RemoteError)
    assert not hasattr(back.exception, "payload")

    def deep(n: int) -> None:
        if n:
            deep(n - 1)
        raise ValueError("deep " * 4_000)

    with pytest.raises(ValueError, match="deep") as caught:
        deep(3)
    fault = fault_of(caught.value, "g.f")
    assert len(fault.traceback) <= TRACEBACK_LIMIT + 8
    assert fault.traceback.startswith("[…]")


def test_exceptions_travel_as_ever_in_a_process_that_has_imported_dask() -> None:
    program = (
        "import distributed, copyreg\n"
        "assert SystemExit in copyreg.dispatch_table\n"
        "from hush.runtime.remote.faults import fault_of, unpack_fault\n"
        "class TwoArgumentsError(Exception):\n"
        "    def __init__(self, code, reason): super().__init__(f'{code}: {reason}')\n"
        "kept = unpack_fault(fault_of(SystemExit(7), 'g.f', 'interrupt')).exception\n"
        "made = unpack_fault(fault_of(TwoArgumentsError(7, 'no'), 'g.f')).exception\n"
        "print(kept.code, type(made).__mro__[1].__name__, made)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.stdout.split() == ["7", "RemoteError", "7:", "no"], done.stderr


def test_an_interrupt_is_told_apart() -> None:
    fault = fault_of(SystemExit(3), "g.m[0].f", "interrupt")
    error = interrupt_of([fault_of(ValueError(), "g.f"), fault])
    assert isinstance(error, SystemExit)
    assert error.code == 3
    assert interrupt_of([fault_of(ValueError(), "g.f")]) is None


def test_a_stand_in_can_travel_again() -> None:
    once = travelled(raised(TwoArgumentsError(7, "no")))
    twice = travelled(once.exception)
    assert (twice.error_type, twice.message) == (once.error_type, once.message)
    assert "in raised" in twice.exception.traceback


def test_an_exception_that_refuses_attributes_arrives_as_itself() -> None:
    try:
        raise RefusesAttributesError("frozen") from ValueError("why")
    except RefusesAttributesError as error:
        failure = travelled(error)
    assert type(failure.exception) is RefusesAttributesError
    assert str(failure.exception) == "frozen"
    assert isinstance(failure.exception.__cause__, ValueError)
