"""Gate: how many calls this process has with an engine at a time, over all maps that use it.

An engine takes any number of calls and lets them wait. What waits there cannot be told from
what hangs, and has been given to no other worker meanwhile; so calls wait here, in order.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hush.model.executor import Executor

__all__ = ("Gate", "gate_to")


@dataclass(slots=True, eq=False)
class _Turn:
    limit: int
    come: anyio.Event = field(default_factory=anyio.Event)


class Gate:
    """Calls of one event loop to one engine.

    Attributes:
        inside: how many there are.
        users: how many maps and graphs use it now.
    """

    __slots__ = ("_waiting", "inside", "users")

    def __init__(self) -> None:
        """Begin with none."""
        self.inside = 0
        self.users = 0
        self._waiting: deque[_Turn] = deque()

    async def enter(self, limit: int) -> None:
        """Wait until there are fewer calls than a limit, and be one of them.

        Args:
            limit: most calls, this one included.
        """
        if self.inside < limit and not self._waiting:
            self.inside += 1
            return
        turn = _Turn(limit)
        self._waiting.append(turn)
        try:
            await turn.come.wait()
        except BaseException:
            if turn in self._waiting:
                self._waiting.remove(turn)
                self._admit()
            else:
                self.leave()
            raise

    def leave(self) -> None:
        """Be none of them any more."""
        self.inside -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.inside < self._waiting[0].limit:
            self.inside += 1
            self._waiting.popleft().come.set()


_gates = anyio.lowlevel.RunVar[dict[int, Gate]]("hush_gates")


@contextmanager
def gate_to(executor: Executor) -> Iterator[Gate]:
    """Share the gate to an engine with all others on this event loop.

    Args:
        executor: the engine.
    """
    try:
        gates = _gates.get()
    except LookupError:
        gates = {}
        _gates.set(gates)
    # By identity, for as long as somebody uses it: it need not be hashable.
    gate = gates.setdefault(id(executor), Gate())
    gate.users += 1
    try:
        yield gate
    finally:
        gate.users -= 1
        if not gate.users:
            del gates[id(executor)]
