"""How a run goes on, told to standard error while it does: one line for each map, and what runs.

In a terminal the lines stand still and change; elsewhere a line comes every ten seconds.
Progress is counted from the run's events, so it costs the same for any number of items.
"""

from __future__ import annotations

import re
import sys
import threading
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final, Self

from hush import semconv
from hush.cli.output import FAINT, console, tidy, tidy_line
from hush.cli.signals import write_raw
from hush.insight.glyphs import choose_glyphs
from hush.insight.wording import counted, format_duration
from hush.runtime.events import (
    ItemEnded,
    ItemStarted,
    NodeEnded,
    NodeStarted,
    RunEnded,
    RunStarted,
)

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from hush.runtime.events import Event

__all__ = ("Progress",)

_EVERY_S: Final = 10.0
_MOST_MAPS: Final = 8
_MOST_NODES: Final = 5
_BAR_CELLS: Final = 16  # so that 80 columns hold a name and all counts
_PER_SECOND: Final = 8
_STOPPING: Final = "stopping; Ctrl-C again leaves at once"
_INDEX: Final = re.compile(r"\[[^\]]*\]")


@dataclass(slots=True)
class _Map:
    """The items of one map or loop, over all the items that it may be in."""

    name: str
    running: int = 0
    ended: int = 0
    failed: int = 0
    handled: int = 0
    cancelled: int = 0
    total: int = 0
    endless: bool = False
    """Whether a source did not say how many items it has."""

    def counts(self) -> str:
        of = "" if self.endless or not self.total else f" of {self.total:,}"
        told = [f"{self.ended:,}{of} ended"]
        told += [
            f"{count:,} {word}"
            for count, word in (
                (self.failed, "failed"),
                (self.handled, "handled"),
                (self.cancelled, "cancelled"),
                (self.running, "running"),
            )
            if count
        ]
        return ", ".join(told)


class Progress:
    """Takes a run's events and shows where it is.

    Attributes:
        place: the console, through which anything else is printed meanwhile.
        run_id: the run's; None until it began.
        trace_id: likewise, and None where the run is not traced.
        run_s: how long the run took; None until it ended.
    """

    def __init__(self) -> None:
        """Show nothing yet."""
        self.place: Console = console(sys.stderr)
        self.run_id: str | None = None
        self.trace_id: str | None = None
        self.run_s: float | None = None
        self._graph = ""
        self._began = perf_counter()
        self._maps: dict[str, _Map] = {}
        self._nodes: dict[str, float] = {}
        self._live: Live | None = None
        self._over = threading.Event()
        self._stops = False

    def __enter__(self) -> Self:
        """Begin to show."""
        self._began = perf_counter()
        if self.place.is_terminal and not self.place.is_dumb_terminal:
            from rich.live import Live  # noqa: PLC0415  # only in a terminal

            self._live = Live(
                get_renderable=self._drawn,
                console=self.place,
                transient=True,
                refresh_per_second=_PER_SECOND,
                # What the user's code prints to a terminal belongs above; what goes to a pipe
                # is none of this console's business.
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start()
        else:
            # From a thread: whoever waits wants to know also where nothing begins or ends.
            self._over.clear()
            talk = self._say_now_and_then
            threading.Thread(target=talk, name="hush progress", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take away what was shown."""
        self._over.set()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, event: Event) -> None:
        """Take an event of the run."""
        match event:
            case RunStarted():
                self.run_id, self.trace_id, self._graph = event.run_id, event.trace_id, event.path
            case NodeStarted():
                self._node_started(event)
            case NodeEnded():
                self._nodes.pop(event.path, None)
            case RunEnded():
                self.run_s = event.run_s
            case ItemStarted():
                self._item_started(event)
            case ItemEnded():
                self._item_ended(event)
            case _:
                return

    def _node_started(self, event: NodeStarted) -> None:
        if event.kind in {"map", "loop"}:
            self._map_of(event.path)
        # What is inside items is counted with them, and a graph is told by what is in it.
        elif "[" not in event.path and event.kind != "graph":
            self._nodes[event.path] = perf_counter()

    def _map_of(self, path: str) -> _Map:
        static = _INDEX.sub("", path)
        found = self._maps.get(static)
        if found is None:
            found = self._maps[static] = _Map(self._short(static))
        return found

    def _item_started(self, event: ItemStarted) -> None:
        items = self._map_of(event.node)
        items.running += 1
        if event.index == 0:
            items.total += event.total or 0
            items.endless |= event.total is None

    def _item_ended(self, event: ItemEnded) -> None:
        items = self._map_of(event.node)
        items.running -= 1
        items.ended += 1
        items.cancelled += event.outcome == semconv.OUTCOME_CANCELLED
        items.handled += event.outcome == semconv.OUTCOME_HANDLED
        items.failed += event.outcome in {semconv.OUTCOME_ERROR, semconv.OUTCOME_TIMEOUT}

    def _short(self, path: str) -> str:
        return tidy(path.removeprefix(f"{self._graph}."))

    def show(self, picture: object) -> None:
        """Print something above what is shown; from any thread.

        Args:
            picture: its text counts, line by line.
        """
        for line in str(picture).splitlines():
            self.place.print(tidy_line(line, self.place.encoding), soft_wrap=True)

    def stopping(self) -> None:
        """Say that the run is being cancelled; from a signal handler."""
        self._stops = True
        if self._live is None:  # which will say it the next time it draws
            write_raw(f"{_STOPPING}\n")

    # --- showing -------------------------------------------------------------------------------

    def _say_now_and_then(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._say()

    def _say(self) -> None:
        told = [
            f"{items.name} {items.counts()}" for items in list(self._maps.values())[:_MOST_MAPS]
        ]
        told += [self._short(path) for path in list(self._nodes)[:_MOST_NODES]]
        took = format_duration(perf_counter() - self._began)
        sys.stderr.write(f"{tidy(self._graph)} {took}: {'; '.join(told) or 'running'}\n")
        sys.stderr.flush()

    def _drawn(self) -> Group:
        """Draw; called from a thread while the run goes on."""
        from rich.console import Group  # noqa: PLC0415  # only in a terminal
        from rich.text import Text  # noqa: PLC0415  # likewise

        now = perf_counter()
        took = format_duration(now - self._began)
        lines = [Text.assemble((tidy(self._graph) or "starting", "bold"), f"  {took}")]
        maps = list(self._maps.values())
        cells = max((len(items.name) for items in maps[-_MOST_MAPS:]), default=0)
        mark = choose_glyphs(self.place.encoding).run
        colours = self.place.color_system is not None
        lines += [_line(items, cells, mark, colours=colours) for items in maps[-_MOST_MAPS:]]
        nodes = list(self._nodes.items())
        lines += [
            Text(f"  {self._short(path)}  {format_duration(now - began)}")
            for path, began in nodes[:_MOST_NODES]
        ]
        if len(nodes) > _MOST_NODES:
            lines.append(Text(f"  and {counted(len(nodes) - _MOST_NODES, 'more node')}", FAINT))
        if self._stops:
            lines.append(Text(_STOPPING, "yellow"))
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
            line.truncate(self.place.width, overflow="ellipsis")
        return Group(*lines)


def _line(items: _Map, cells: int, mark: str, *, colours: bool) -> Text:
    from rich.text import Text  # noqa: PLC0415  # only in a terminal

    line = Text(f"  {items.name:<{cells}}  ")
    if items.total and not items.endless:
        share = min(1.0, items.ended / items.total)
        bad = round(_BAR_CELLS * share * items.failed / items.ended) if items.ended else 0
        bad = max(bad, 1) if items.failed and share else bad
        full = max(bad, round(_BAR_CELLS * share))
        line.append(mark * (full - bad), "green").append(mark * bad, "red")
        # Faint alone would not do where there are no colours.
        rest = mark if colours else " "
        line.append(rest * (_BAR_CELLS - full), FAINT).append("  ")
    return line.append(items.counts())
