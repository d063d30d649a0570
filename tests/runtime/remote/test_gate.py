"""Calls of several maps to one engine wait in order, and none is forgotten."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from hush.runtime.remote.gate import Gate, gate_to

pytestmark = pytest.mark.anyio


async def settle():
    for _ in range(5):
        await checkpoint()


async def test_who_waits_is_let_in_in_order():
    gate, order = Gate(), []

    async def enter(name, limit):
        await gate.enter(limit)
        order.append(name)

    async with anyio.create_task_group() as group:
        for name, limit in (("a", 1), ("b", 1), ("c", 2), ("d", 2)):
            group.start_soon(enter, name, limit)
            await settle()
        # One that would be let in stands behind one that would not.
        assert order == ["a"]
        gate.leave()
        await settle()
        assert sorted(order) == ["a", "b", "c"]
        gate.leave()
        await settle()
        assert order[3:] == ["d"]
    assert gate.inside == 2


@pytest.mark.parametrize("admitted", [False, True])
async def test_who_is_cancelled_keeps_no_place(admitted):
    gate = Gate()
    await gate.enter(1)
    late = []

    async def enter(scope, name):
        with scope:
            await gate.enter(1)
            late.append(name)

    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()
        group.start_soon(enter, scope, "cancelled")
        await settle()
        group.start_soon(enter, anyio.CancelScope(), "next")
        await settle()
        if admitted:
            gate.leave()
        scope.cancel()
        await settle()
        # Who is let in and cancelled at the same time may be either.
        if not admitted or late == ["cancelled"]:
            gate.leave()
    assert late[-1] == "next"
    assert gate.inside == 1


async def test_all_who_use_an_engine_have_one_gate():
    engine, other = object(), object()
    with gate_to(engine) as one, gate_to(engine) as two, gate_to(other) as three:
        assert one is two
        assert one is not three
        assert one.users == 2
    with gate_to(engine) as again:
        assert again.users == 1
