"""burr, untraced: actions and transitions; ``MapStates`` for what runs side by side.

Its parallelism makes an application of its own for each item and gathers them all, without a
limit. A fan-out is the same as a map there, so that only the map is measured.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from importlib.metadata import version
from typing import Any

from burr.core import ApplicationBuilder, ApplicationContext, State, action
from burr.core.parallelism import MapStates
from burr.telemetry import disable_telemetry

from benchmarks.work import work

disable_telemetry()
VERSIONS = {"burr": version("apache-burr")}


@action(reads=["x"], writes=["x"])
async def one(state: State) -> State:
    return state.update(x=(await work(state["x"]))["y"])


class Items(MapStates):
    """The map."""

    def action(self, state: State, inputs: dict[str, Any]) -> Any:
        del state, inputs
        return one

    def states(
        self, state: State, context: ApplicationContext, inputs: dict[str, Any]
    ) -> Generator[State, None, None]:
        del context, inputs
        for i in range(state["count"]):
            yield state.update(x=i)

    async def reduce(self, state: State, states: AsyncGenerator[State, None]) -> State:
        return state.update(ys=[each["x"] async for each in states])

    def is_async(self) -> bool:
        return True

    @property
    def reads(self) -> list[str]:
        return ["count"]

    @property
    def writes(self) -> list[str]:
        return ["ys"]


def mapping(size: int) -> Callable[[], Awaitable[object]]:
    async def run() -> object:
        application = await (
            ApplicationBuilder()
            .with_actions(items=Items())
            .with_state(count=size)
            .with_entrypoint("items")
            .abuild()
        )
        _, _, state = await application.arun(halt_after=["items"])
        return state["ys"]

    return run


def chain(size: int) -> Callable[[], Awaitable[object]]:
    graph = chain_of(size)

    async def run() -> object:
        application = await graph().abuild()
        _, _, state = await application.arun(halt_after=[f"n{size - 1}"])
        return state["x"]

    return run


def chain_of(size: int) -> Callable[[], Any]:
    actions = {f"n{i}": one for i in range(size)}
    transitions = [(f"n{i}", f"n{i + 1}") for i in range(size - 1)]

    def build() -> Any:
        return (
            ApplicationBuilder()
            .with_actions(**actions)
            .with_transitions(*transitions)
            .with_state(x=0)
            .with_entrypoint("n0")
        )

    return build


CASES = {
    "map": mapping,
    "chain": chain,
    "build": lambda size: lambda: chain_of(size)().build(),
}
