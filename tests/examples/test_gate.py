"""The gate of examples/service, on both loops: how many are inside, and how the last of them end."""

from __future__ import annotations

import importlib.util

import anyio
import pytest
from anyio.lowlevel import checkpoint

from tests.examples.running import SERVICE


def load(name):
    spec = importlib.util.spec_from_file_location(name, SERVICE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gate_module = load("gate")
Gate, TurnedAwayError, CutOffError = (
    gate_module.Gate,
    gate_module.TurnedAwayError,
    gate_module.CutOffError,
)


class Crowd:
    """Work that is inside until it is let go, and what became of each."""

    def __init__(self, gate):
        self.gate = gate
        self.go = anyio.Event()
        self.inside = self.most = 0
        self.ended = []

    async def work(self):
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.go.wait()
        finally:
            self.inside -= 1
        return "done"

    async def come(self):
        try:
            self.ended.append(await self.gate.do(self.work))
        except (TurnedAwayError, CutOffError) as error:
            self.ended.append(str(error))


async def settle():
    for _ in range(20):
        await checkpoint()


async def test_so_many_are_inside_so_many_wait_and_the_rest_goes_away():
    crowd = Crowd(Gate(2, 3, 60))
    async with anyio.create_task_group() as group:
        for _ in range(9):
            group.start_soon(crowd.come)
        await settle()
        assert crowd.gate.inside == 2
        assert crowd.ended == ["too many requests are waiting already"] * 4
        crowd.go.set()
    assert crowd.ended[4:] == ["done"] * 5
    assert crowd.most == 2
    assert crowd.gate.inside == 0


async def test_who_waits_too_long_goes_away():
    crowd = Crowd(Gate(1, 1, 0.01))
    async with anyio.create_task_group() as group:
        group.start_soon(crowd.come)
        await settle()
        await crowd.come()
        assert crowd.ended == ["it was nobody's turn in time"]
        crowd.go.set()
    assert crowd.ended[1:] == ["done"]


async def test_a_closed_gate_lets_those_inside_end():
    crowd = Crowd(Gate(1, 5, 60))
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(crowd.come)
        await settle()
        crowd.gate.close()
        await settle()
        assert crowd.ended == ["the service is ending"] * 2
        await crowd.come()
        crowd.go.set()
        await crowd.gate.wait_until_empty()
    assert crowd.ended == ["the service is ending"] * 3 + ["done"]


async def test_who_gets_a_slot_in_the_moment_of_closing_goes_away():
    crowd = Crowd(Gate(1, 5, 60))

    async def come_and_close():
        await crowd.come()
        # The slot has been handed on, and nobody has come round to whoever has it now.
        crowd.gate.close()

    async with anyio.create_task_group() as group:
        group.start_soon(come_and_close)
        await settle()
        group.start_soon(crowd.come)
        await settle()
        crowd.go.set()
        await settle()
        await crowd.gate.wait_until_empty()
    assert crowd.ended == ["done", "the service is ending"]


async def test_what_is_cut_off_is_over():
    crowd = Crowd(Gate(2, 5, 60))
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(crowd.come)
        await settle()
        crowd.gate.close()
        crowd.gate.cut_off()
        await crowd.gate.wait_until_empty()
        assert crowd.inside == 0
    assert crowd.ended == ["the service had to end before this was done"] * 2


async def test_what_work_raises_comes_out_and_frees_its_place():
    gate = Gate(1, 0, 0)

    async def fail():
        raise KeyError("x")

    for _ in range(3):
        with pytest.raises(KeyError):
            await gate.do(fail)


async def test_cancellation_comes_out_and_frees_its_place():
    crowd = Crowd(Gate(1, 1, 60))
    async with anyio.create_task_group() as group:
        group.start_soon(crowd.come)
        # One is inside, one waits.
        await settle()
        group.start_soon(crowd.come)
        await settle()
        group.cancel_scope.cancel()
    assert crowd.ended == []
    assert crowd.gate.inside == 0
    crowd.go.set()
    await crowd.come()
    assert crowd.ended == ["done"]
