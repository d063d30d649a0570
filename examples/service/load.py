"""Makes requests to the service at an even pace, for a while, and says how it went.

    python examples/service/load.py --rate 20 --duration 60

Requests begin when they are due, whether or not the ones before have been answered, as those
of strangers do; latencies count from then, so a service that stalls cannot hide it. Two in
three are orders, the others read pages; some do not fit, some have little time, some hang up.
Each has a trace of its own (a traceparent), and those of the slowest are named. It ends by
itself, with 1 where nothing was answered, and on Ctrl-C tells what it has.
"""

import argparse
import json
import math
import os
import random
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import anyio

try:
    # What the openai client brings, by whichever name.
    import httpx2 as httpx
except ImportError:
    import httpx

PARTS = (50, 90, 95, 99, 100)
MOST_SECONDS = 86_400.0
HUNG_UP = "hung up"


def a_number(least: float, most: float) -> Any:
    """Make a parser of numbers for argparse."""

    def parse(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text}: expected {least:g} to {most:g}")
        return value

    return parse


def percentile(values: list[float], part: float) -> float:
    """Return the least value that this many per cent do not exceed; of sorted values."""
    return values[max(0, math.ceil(len(values) * part / 100) - 1)]


class Requests:
    """What is asked, in an order that the seed decides."""

    def __init__(self, seed: int, odd: float) -> None:
        """Take the seed, and the share of requests that are not as they should be."""
        self._chance = random.Random(seed)
        self._odd = odd

    def next(self, number: int) -> dict[str, Any]:
        """Return a path, query, body and patience."""
        chance = self._chance
        made: dict[str, Any] = {"query": {}, "patience_s": 30.0}
        if number % 3:
            names = [f"{'gone' if chance.random() < self._odd else 'cup'}-{n}" for n in range(3)]
            made |= {"path": "/orders", "body": {"customer": f"customer {number}", "items": names}}
        else:
            made |= {"path": "/pages", "body": {"pages": list(range(20))}}
        if chance.random() < self._odd:
            kind = chance.choice(("misfit", "hurry", "hang up"))
            if kind == "misfit":
                made["body"] = {"customer": ""}
            elif kind == "hurry":
                made["query"] = {"deadline_s": 0.1}
            else:
                made["patience_s"] = 0.1
        return made


class Tally:
    """What came of it."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.statuses: Counter[str] = Counter()
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.slowest: list[tuple[float, str, str]] = []
        self.begun = 0
        self.skipped = 0

    def add(self, status: str, seconds: float, path: str, trace_id: str) -> None:
        """Count an answer."""
        self.statuses[status] += 1
        self.seconds[status].append(seconds)
        if not status.isdigit():
            return
        self.slowest = sorted([*self.slowest, (seconds, path, trace_id)], reverse=True)[:3]

    def told(self) -> dict[str, Any]:
        """Return figures: seconds at each percentile, of all answers and by status."""
        answered = {name: seconds for name, seconds in self.seconds.items() if name.isdigit()}
        groups = {"all": sorted(chain.from_iterable(answered.values()))}
        groups |= {name: sorted(seconds) for name, seconds in sorted(answered.items())}
        return {
            "requests": self.begun,
            "skipped": self.skipped,
            "statuses": dict(sorted(self.statuses.items())),
            "seconds": {
                name: {str(part): round(percentile(values, part), 4) for part in PARTS}
                for name, values in groups.items()
                if values
            },
            "slowest": [
                {"seconds": round(seconds, 3), "path": path, "trace_id": trace_id}
                for seconds, path, trace_id in self.slowest
            ],
        }


async def ask(client: httpx.AsyncClient, due: float, made: dict[str, Any], tally: Tally) -> None:
    """Make a request and count what came of it."""
    trace_id, span_id = os.urandom(16).hex(), os.urandom(8).hex()
    status = HUNG_UP
    try:
        with anyio.move_on_after(made["patience_s"]):
            answer = await client.post(
                made["path"],
                json=made["body"],
                params=made["query"],
                headers={"traceparent": f"00-{trace_id}-{span_id}-01"},
            )
            status = str(answer.status_code)
    except httpx.HTTPError as error:
        status = type(error).__name__
    tally.add(status, anyio.current_time() - due, made["path"], trace_id)


async def make_requests(options: argparse.Namespace, tally: Tally) -> None:
    """Begin requests when they are due, and wait for the last of them."""
    requests = Requests(options.seed, options.odd)
    limits = httpx.Limits(max_connections=options.most, max_keepalive_connections=options.most)
    pending = 0

    async def one(due: float, made: dict[str, Any]) -> None:
        nonlocal pending
        pending += 1
        try:
            await ask(client, due, made, tally)
        finally:
            pending -= 1

    async with (
        httpx.AsyncClient(base_url=options.url, limits=limits, timeout=30.0) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(stop_on_signal, group.cancel_scope)
        began = anyio.current_time()
        async with anyio.create_task_group() as asking:
            for number in range(max(1, round(options.rate * options.duration))):
                due = began + number / options.rate
                await anyio.sleep_until(due)
                if pending >= options.most:
                    # Without a bound a service that hangs would take this process down, too.
                    tally.skipped += 1
                    continue
                tally.begun += 1
                asking.start_soon(one, due, requests.next(number))
        group.cancel_scope.cancel()


async def stop_on_signal(scope: anyio.CancelScope) -> None:
    """Stop when told to."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


@contextmanager
def printing(options: argparse.Namespace, tally: Tally) -> Iterator[None]:
    """Print at the end what came of it."""
    yield
    told = tally.told()
    if options.json:
        print(json.dumps(told))
        return
    counts = ", ".join(f"{number} {name}" for name, number in told["statuses"].items())
    skipped = f", {told['skipped']} not made: too many unanswered" if told["skipped"] else ""
    print(f"{told['requests']} requests: {counts or 'none'}{skipped}")
    if told["seconds"]:
        print("seconds  " + "".join(f"{f'p{part}':>9}" for part in PARTS).replace("p100", " max"))
    for name, values in told["seconds"].items():
        print(f"  {name:<7}" + "".join(f"{value:9.3f}" for value in values.values()))
    for slow in told["slowest"]:
        print(f"slow: {slow['seconds']:.3f} s {slow['path']:<8} trace {slow['trace_id']}")


def main() -> int:
    """Read the command line and make requests; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the service")
    parser.add_argument("--rate", type=a_number(0.01, 1000), default=10.0, help="requests a second")
    parser.add_argument(
        "--duration", type=a_number(0.1, MOST_SECONDS), default=30.0, help="seconds; a day at most"
    )
    parser.add_argument(
        "--odd", type=a_number(0, 1), default=0.06, help="share of requests that are not in order"
    )
    parser.add_argument("--most", type=int, default=200, help="requests under way at most")
    parser.add_argument("--seed", type=int, default=1, help="of what is asked")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    tally = Tally()
    with printing(options, tally):
        anyio.run(make_requests, options, tally)
    return 0 if any(name.isdigit() for name in tally.statuses) else 1


if __name__ == "__main__":
    sys.exit(main())
