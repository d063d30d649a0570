"""Whoever watches may fail at what workers need too; the run goes on without."""

from __future__ import annotations

from typing import Any, Self

from hush.runtime.instrument import (
    NULL_INSTRUMENT,
    NULL_OBSERVATION,
    Guard,
    Scope,
)
from hush.runtime.remote.packing import pack_telemetry
from hush.runtime.remote.passage import Passage

PASSAGE = Passage(1, 2, 3, 4)


class Broken:
    """An instrument and an observation; all that they do is raise."""

    token = trace_id = None

    def __init__(self, *, opens: bool) -> None:
        self.opens = opens

    def observe(self, scope: Scope) -> Any:
        if not self.opens:
            raise RuntimeError("cannot")
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        def fail(*args: Any, **options: Any) -> None:
            raise RuntimeError(name)

        return fail


def test_faults_are_reported_and_nothing_else_comes_out() -> None:
    for opens in (True, False):
        faults: list[Exception] = []
        guard = Guard(Broken(opens=opens), faults.append)  # type: ignore[arg-type]
        guard._safely = guard._lookout = None
        assert guard.elsewhere() == {}
        guard.absorb(b"")
        assert pack_telemetry(guard) is None
        with guard.observe(Scope("item", "m")) as seen:
            assert seen.carrier() == {}
            seen.adopt(b"", PASSAGE)
        said = [str(fault) for fault in faults]
        inside = ["carrier", "adopt"] if opens else ["cannot"]
        assert said == ["elsewhere", "absorb", "elsewhere", *inside]


def test_where_nobody_watches_there_is_nothing_to_say() -> None:
    assert NULL_INSTRUMENT.elsewhere() == {}
    NULL_INSTRUMENT.absorb(b"anything")
    assert NULL_OBSERVATION.carrier() == {}
    NULL_OBSERVATION.adopt(b"anything", PASSAGE)
