"""Ten runs with one planted cause each, really run: the first finding names it.

Sleep load, on asyncio and on trio. Where a remedy is known it is applied and run as well, and
what it really gained is compared with what was predicted. A machine that does other things as
well plants causes of its own: so a canary, a thread that sleeps, says how late it was woken;
a run during which it was late is repeated, and where none of TRIES was calm the test measures
the machine and is skipped. No choice knows anything of the diagnosis. The texts are printed
(pytest -s).
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from time import perf_counter
from typing import Any, Self

import anyio
import pytest

from hush import semconv
from hush.core import END, PARENT, START, Each, GraphNode, Hush, MapNode, Retry, RunError, code_node
from hush.insight.diagnosis import Diagnosis, Finding, diagnose
from hush.insight.formats.jaeger_json import parse_jaeger_json, to_jaeger_json
from hush.insight.formats.otlp_json import parse_otlp_json, to_otlp_json
from hush.insight.page.places import Places
from hush.insight.page.sentences import sentences_of
from hush.insight.tree import TraceTree
from hush.insight.whatif import what_if
from hush.providers import LLMNode
from hush.testing import ScriptedLLMServer, SpanTree, capture_spans

NEAR = 0.25
"""How far a gain may be off what the remedy really brings."""
FINE_S = 0.06
"""What the machinery, timers and a calm machine may add up to in one run."""
TRIES = 6
CANARY_S = 0.004
LATE_S = 0.015
"""A machine on which a thread is woken so late is none to measure on."""


@code_node
async def nap(s: float) -> dict[str, Any]:
    await anyio.sleep(s)
    return {"done": s}


class Canary(threading.Thread):
    """Says how late it was woken at most."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.late_s = 0.0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            before = perf_counter()
            time.sleep(CANARY_S)
            self.late_s = max(self.late_s, perf_counter() - before - CANARY_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.over.set()
        self.join()


async def recorded(build: Callable[[], Any]) -> SpanTree:
    """Run what is built, again while the machine is busy."""
    late: list[float] = []
    for _ in range(TRIES):
        built = build()
        graph, inputs, options = built if isinstance(built, tuple) else (built, {}, {})
        gc.collect()
        with Canary() as canary, capture_spans() as capture, suppress(RunError):
            await Hush(graph, **options).run(inputs)
        if canary.late_s < LATE_S:
            return capture.tree
        late.append(canary.late_s)
    pytest.skip(f"the machine is too busy: a thread was woken {min(late) * 1e3:.0f} ms late")


async def why(build: Callable[[], Any]) -> Diagnosis:
    tree = await recorded(build)
    found = diagnose(tree)
    print(f"\n{found}")
    # Written and read again it says the same.
    for spans in (parse_otlp_json(to_otlp_json(tree)), parse_jaeger_json(to_jaeger_json(tree))):
        first = diagnose(TraceTree(spans)).first
        assert (first.kind, first.path) == (found.first.kind, found.first.path)
    assert all(0.0 <= one.gain_s <= found.wall_s for one in found.findings)
    assert found.gain_s <= found.wall_s
    return found


async def check_gain(
    found: Diagnosis, remedied: Callable[[], Any], finding: Finding | None = None
) -> None:
    tree = await recorded(remedied)
    real_s = found.wall_s - tree.root.duration_s
    predicted_s = (finding or found.first).gain_s
    print(f"predicted {predicted_s:.3f} s, really gained {real_s:.3f} s")
    assert predicted_s == pytest.approx(real_s, rel=NEAR)


@pytest.fixture(autouse=True)
async def warm() -> None:
    # A first run imports much, and on each loop something else.
    with capture_spans():
        await Hush(fan_in(0.0, 0.0)).run({})


# --- 1: slow predecessor ----------------------------------------------------------------------


def fan_in(slow_s: float = 0.6, others_s: float = 0.2) -> GraphNode:
    with GraphNode(name="report") as graph:
        sales = nap(name="sales", inputs={"s": others_s})
        stock = nap(name="stock", inputs={"s": slow_s})
        staff = nap(name="staff", inputs={"s": 0.75 * others_s})
        merge = nap(name="merge", inputs={"s": others_s / 4})
        START >> [sales, stock, staff] >> merge >> END
    return graph


async def test_slow_predecessor():
    found = await why(fan_in)
    first = found.first
    assert (first.kind, first.path) == ("slow_predecessor", "report.stock")
    assert first.facts["fan_in"] == "report.merge"
    assert first.facts["second"] == "report.sales"
    assert "'merge' waited for 3 predecessors and was held up by 'stock'" in first.text
    assert first.facts["lead_s"] == pytest.approx(0.4, abs=FINE_S)
    assert len(found.findings) == 1
    await check_gain(found, lambda: fan_in(0.2))


# --- 2: limit too low --------------------------------------------------------------------------


def limited(limit: int = 2) -> GraphNode:
    with GraphNode(name="crawl") as graph:
        with MapNode(
            name="pages", inputs={"s": Each([0.1, 0.08, 0.12, 0.1] * 4)}, max_concurrency=limit
        ) as pages:
            START >> nap(name="fetch", inputs={"s": PARENT["s"]}) >> END
        START >> nap(name="seed", inputs={"s": 0.1}) >> pages >> END
    return graph


async def test_limit_too_low():
    found = await why(limited)
    first = found.first
    assert (first.kind, first.path) == ("limit_too_low", "crawl.pages")
    assert first.facts["max_concurrency"] == 2
    assert first.facts["gain_unlimited_s"] > first.facts["gain_twice_s"] == first.gain_s
    assert "max_concurrency of 'pages' to 4" in first.remedy
    await check_gain(found, lambda: limited(4))


async def test_a_limit_is_named_rather_than_the_fan_in_that_its_map_held_up():
    with GraphNode(name="crawl") as graph:
        with MapNode(name="pages", inputs={"s": Each([0.1] * 12)}, max_concurrency=2) as pages:
            START >> nap(name="fetch", inputs={"s": PARENT["s"]}) >> END
        other = nap(name="other", inputs={"s": 0.05})
        merge = nap(name="merge", inputs={"s": 0.02})
        START >> [pages, other] >> merge >> END
    found = await why(lambda: graph)
    assert [one.kind for one in found.findings] == ["limit_too_low"]
    assert "'merge' had to wait" in found.first.text


# --- 3: limit too high for the rate limit ---------------------------------------------------------


@pytest.fixture
def server() -> Iterator[ScriptedLLMServer]:
    with ScriptedLLMServer() as one:
        yield one


def asking(limit: int = 16) -> GraphNode:
    with GraphNode(name="batch") as graph:
        with MapNode(name="all", inputs={"q": Each(["?"] * 40)}, max_concurrency=limit) as cities:
            asked = LLMNode(
                name="ask",
                resource_key="m",
                inputs={"messages": [{"role": "user", "content": "Where is Rome?"}]},
                outputs={"content": PARENT},
            )
            START >> asked >> END
        START >> cities >> END
    return graph


async def test_limit_too_high_for_the_rate_limit(server: ScriptedLLMServer):
    resources = server.resources("m", requests_per_minute=1200)
    with capture_spans():
        # The first call of a process makes the client and much besides.
        await Hush(asking(), resources=server.resources("m")).run({})
    found = await why(lambda: (asking(), {}, {"resources": resources}))
    first = found.first
    assert (first.kind, first.path) == ("rate_limit", "batch.all")
    assert first.facts["limiter"] == "llm:m/requests_per_minute"
    assert "llm:m/requests_per_minute" in first.text
    enough = first.facts["sufficient"]
    assert enough < 8
    assert f"max_concurrency={enough}" in first.remedy
    assert not any(one.kind == "limit_too_low" for one in found.findings)
    # What is said to be enough is enough.
    tree = await recorded(lambda: (asking(enough), {}, {"resources": resources}))
    print(f"with {enough} slots {tree.root.duration_s:.3f} s, with 16 {found.wall_s:.3f} s")
    assert tree.root.duration_s == pytest.approx(found.wall_s, rel=0.15)


# --- 4: one straggler -------------------------------------------------------------------------------


def straggling(long_s: float = 0.7) -> GraphNode:
    naps = [0.1] * 16
    naps[13] = long_s
    with GraphNode(name="ocr") as graph:
        with MapNode(
            name="scans",
            inputs={"s": Each(naps), "name": Each([f"doc-{i}.pdf" for i in range(16)])},
            max_concurrency=8,
            key=lambda item: item["name"],
        ) as scans:
            START >> nap(name="read", inputs={"s": PARENT["s"]}) >> END
        START >> scans >> END
    return graph


async def test_one_straggler():
    found = await why(straggling)
    first = found.first
    assert (first.kind, first.path) == ("straggler", "ocr.scans[13]")
    assert (first.facts["index"], first.facts["key"]) == (13, "doc-13.pdf")
    assert "Item 13 (key 'doc-13.pdf') of 'scans'" in first.text
    assert first.facts["map_without_s"] == pytest.approx(0.2, abs=FINE_S)
    await check_gain(found, lambda: straggling(0.1))


# --- 5: blocking node ----------------------------------------------------------------------------------


def parsing(run_in: str | None = None) -> GraphNode:
    async def parse(page: int):
        time.sleep(0.15)
        return {"words": page}

    def parse_in_thread(page: int):
        time.sleep(0.15)
        return {"words": page}

    body = code_node(parse if run_in is None else parse_in_thread)
    with GraphNode(name="parse_all") as graph:
        with MapNode(name="pages", inputs={"page": Each(range(6))}, max_concurrency=6) as pages:
            START >> body(name="parse", inputs={"page": PARENT["page"]}) >> END
        START >> pages >> END
    return graph


async def test_blocking_node():
    found = await why(parsing)
    first = found.first
    assert (first.kind, first.path) == ("blocking_node", "parse_all.pages.parse")
    assert first.facts["blocked_s"] == pytest.approx(0.9, abs=FINE_S)
    assert "test_why_for_real.py" in first.facts["at"]
    assert "run_in='thread'" in first.remedy
    await check_gain(found, lambda: parsing("thread"))


async def test_a_node_that_blocks_is_named_rather_than_whom_it_kept_waiting():
    @code_node
    async def crunch():
        time.sleep(0.3)
        return {}

    with GraphNode(name="mixed") as graph:
        first = nap(name="first", inputs={"s": 0.02})
        second = nap(name="second", inputs={"s": 0.25})
        busy = crunch(name="crunch")
        merge = nap(name="merge", inputs={"s": 0.02})
        wait = nap(name="wait", inputs={"s": 0.01})
        START >> first >> second >> merge >> END
        START >> wait >> busy >> merge
    found = await why(lambda: graph)
    assert found.first.kind == "blocking_node"
    assert found.first.path == "mixed.crunch"


def beside(run_in: str | None = None) -> GraphNode:
    async def parse(page: int):
        time.sleep(0.15)
        return {"words": page}

    def parse_in_thread(page: int):
        time.sleep(0.15)
        return {"words": page}

    @code_node
    async def ping():
        for _ in range(5):
            await anyio.sleep(0.02)
        return {}

    body = code_node(parse if run_in is None else parse_in_thread)
    with GraphNode(name="ingest") as graph:
        with MapNode(name="docs", inputs={"page": Each(range(8))}, max_concurrency=5) as docs:
            START >> body(name="parse", inputs={"page": PARENT["page"]}) >> END
        START >> [docs, ping()] >> END
    return graph


async def test_blocking_node_beside_an_innocent_one():
    found = await why(beside)
    assert [one.kind for one in found.findings] == ["blocking_node"]
    assert found.first.path == "ingest.docs.parse"
    assert "ingest.ping" in found.first.facts["held_up"]
    assert "'ping'" in found.first.text
    await check_gain(found, lambda: beside("thread"))


async def test_slots_do_not_divide_what_holds_the_loop():
    tree = await recorded(beside)
    predicted = what_if(tree, [2, 8]).predictions
    for one in predicted:
        assert one.run_s == pytest.approx(tree.root.duration_s, rel=0.05)


# --- 5b: computing, in threads and on the loop ---------------------------------------------------------


def scoring(limit: int = 2) -> GraphNode:
    @code_node
    def score(n: int):
        total = 0
        for i in range(400_000):
            total += i * n
        return {"total": total}

    with GraphNode(name="scoring") as graph:
        with MapNode(name="rows", inputs={"n": Each(range(12))}, max_concurrency=limit) as rows:
            START >> score(inputs={"n": PARENT["n"]}) >> END
        START >> rows >> END
    return graph


async def test_threads_that_compute_are_promised_nothing():
    tree = await computed(scoring())
    found = diagnose(tree)
    print(f"\n{found}")
    assert (found.first.kind, found.first.path) == ("cpu_bound", "scoring.rows")
    assert found.first.gain_s == 0.0
    assert "run_in='process'" in found.first.remedy
    assert not {"limit_too_low", "all_fine"} & {one.kind for one in found.findings}
    predicted = what_if(tree, [1, 4, 12])
    assert "cpu" in {caution.kind for caution in predicted.cautions}
    really = {limit: await computed(scoring(limit)) for limit in (1, 4, 12)}
    before_s = tree.root.record.seconds(semconv.CPU_S)
    for one in predicted.predictions:
        # By CPU: a busy machine makes any of them longer, each by something else.
        change = really[one.max_concurrency].root.record.seconds(semconv.CPU_S) / before_s
        predicted_change = one.run_s / predicted.recorded.run_s
        print(f"limit {one.max_concurrency}: predicted {predicted_change:.0%}, CPU {change:.0%}")
        assert predicted_change == pytest.approx(change, rel=0.35)


async def test_a_loop_that_is_busy_with_trifles_is_promised_nothing():
    @code_node(run_in="loop")
    def trifle(n: int):
        return {"n": n}

    with GraphNode(name="huge") as graph:
        with MapNode(name="all", inputs={"n": Each(range(1_500))}, max_concurrency=50) as every:
            START >> trifle(inputs={"n": PARENT["n"]}) >> END
        START >> every >> END
    tree = await computed(graph)
    found = diagnose(tree)
    print(f"\n{found}")
    (told,) = (one for one in found.findings if one.kind == "cpu_bound")
    assert "let each item do several at once" in told.remedy
    # Whom a busy machine stopped in the midst of a step held the loop, and others wait for it.
    kinds = {one.kind for one in found.findings}
    assert kinds <= {"cpu_bound", "blocking_node", "straggler"}


async def computed(graph: GraphNode) -> SpanTree:
    """Run what computes. A canary would be late whatever the machine: it has to wait its turn too.

    Where others had the machine it is not the computing that took the time.
    """
    for _ in range(TRIES):
        with capture_spans() as capture:
            await Hush(graph).run({})
        root = capture.tree.root
        share = root.record.seconds(semconv.CPU_S) / root.duration_s
        if share > 0.6 or share * root.record.seconds(semconv.HOST_LOAD) >= 1.0:
            return capture.tree
    pytest.skip(f"the machine is too busy: it gave {share:.0%} of a core")


# --- 6: retry storm ----------------------------------------------------------------------------------------


def mirrored(failures: int = 3) -> GraphNode:
    tries: dict[int, int] = {}

    @code_node(retry=Retry(4, on=ConnectionError, initial_s=0.05, factor=2, jitter=0))
    async def fetch(page: int):
        await anyio.sleep(0.05)
        tries[page] = tries.get(page, 0) + 1
        if tries[page] <= failures and page % 2:
            raise ConnectionError("reset by peer")
        return {"text": page}

    with GraphNode(name="mirror") as graph:
        with MapNode(name="pages", inputs={"page": Each(range(8))}, max_concurrency=4) as pages:
            START >> fetch(inputs={"page": PARENT["page"]}) >> END
        START >> pages >> END
    return graph


async def test_retry_storm():
    found = await why(mirrored)
    first = found.first
    assert (first.kind, first.path) == ("retry_storm", "mirror.pages.fetch")
    assert first.facts["failed_attempts"] == 12
    assert first.facts["errors"] == {"ConnectionError": 12}
    # Four items paused for 0.05, 0.1 and 0.2 s each; only what one worker lost counts.
    assert first.facts["backoff_s"] == pytest.approx(4 * 0.35, abs=FINE_S)
    assert "12 attempts at 'fetch' failed: ConnectionError (12)" in first.text
    await check_gain(found, lambda: mirrored(0))


# --- 7: slow source -----------------------------------------------------------------------------------------


async def test_slow_source():
    async def pages() -> AsyncIterator[int]:
        for page in range(8):
            await anyio.sleep(0.08)
            yield page

    with GraphNode(name="feed") as graph:
        with MapNode(
            name="entries", inputs={"s": Each(PARENT["pages"])}, max_concurrency=4
        ) as entries:
            START >> nap(name="index", inputs={"s": 0.03}) >> END
        START >> entries >> END
    found = await why(lambda: (graph, {"pages": pages()}, {}))
    first = found.first
    assert (first.kind, first.path) == ("slow_source", "feed.entries")
    assert first.facts["source_p50_s"] == pytest.approx(0.08, abs=0.02)
    assert first.gain_s == pytest.approx(0.64 + 0.03 - 0.06, abs=FINE_S)


# --- 8: cancelled by fail-fast --------------------------------------------------------------------------------


async def test_cancelled_by_fail_fast():
    @code_node
    async def convert(n: int):
        await anyio.sleep(0.3 if n != 5 else 0.2)
        if n == 5:
            raise ValueError("not a picture")
        return {"n": n}

    with GraphNode(name="album") as graph:
        with MapNode(name="photos", inputs={"n": Each(range(8))}, max_concurrency=8) as photos:
            START >> convert(inputs={"n": PARENT["n"]}) >> END
        START >> [photos, nap(name="beside", inputs={"s": 1.0})] >> END
    found = await why(lambda: graph)
    first = found.first
    assert (first.kind, first.path) == ("failed", "album.photos[5].convert")
    assert "'convert' in item 5 of 'photos' failed" in first.text
    assert "not a picture" in first.text
    assert first.facts["index"] == 5
    # One finding, not two that say the same.
    assert [one.kind for one in found.findings] == ["failed"]
    assert first.facts["victims"] == 8
    assert first.facts["wasted_s"] == pytest.approx(8 * 0.2, abs=4 * FINE_S)
    assert "That cancelled 7 items and 1 node (fail-fast)" in first.text
    assert "on_error='collect'" in first.remedy


# --- 8b: ended by a deadline ------------------------------------------------------------------------------------


def nightly(limit: int = 3) -> GraphNode:
    with GraphNode(name="nightly") as graph:
        with MapNode(
            name="batches", inputs={"s": Each([0.2, 0.2, 0.2, 20.0])}, max_concurrency=limit
        ) as batches:
            START >> nap(name="step", inputs={"s": PARENT["s"]}) >> END
        START >> batches >> END
    return graph


async def test_a_run_that_its_deadline_ended_says_what_it_was_in_and_promises_nothing():
    with capture_spans() as capture, suppress(RunError):
        await Hush(nightly()).run({}, deadline_s=0.5)
    found = diagnose(capture.tree)
    print(f"\n{found}")
    assert [one.kind for one in found.findings] == ["failed"]
    assert "was ended by its time limit" in found.first.text
    assert "while it was in 'step' in item 3 of 'batches' (for" in found.first.text
    assert "3 of 4 items of 'batches' were done" in found.first.text
    assert found.first.facts["under_way"] == ["nightly.batches[3].step"]
    assert found.gain_s == 0.0


async def test_a_run_that_was_cancelled_from_outside_promises_nothing():
    with capture_spans() as capture, anyio.move_on_after(0.5):
        await Hush(nightly()).run({})
    found = diagnose(capture.tree)
    assert [one.kind for one in found.findings] == ["cancelled"]
    assert "while it was in 'step' in item 3 of 'batches' (for" in found.first.text
    assert found.gain_s == 0.0


# --- 9: nested map ----------------------------------------------------------------------------------------------


def nested(outer: int, inner: int) -> GraphNode:
    with GraphNode(name="site") as graph:
        with MapNode(
            name="shops", inputs={"row": Each([[0.05] * 4] * 6)}, max_concurrency=outer
        ) as shops:
            before = nap(name="login", inputs={"s": 0.02})
            with MapNode(
                name="orders", inputs={"s": Each(PARENT["row"])}, max_concurrency=inner
            ) as orders:
                START >> nap(name="load", inputs={"s": PARENT["s"]}) >> END
            START >> before >> orders >> END
        START >> shops >> END
    return graph


async def test_nested_map():
    found = await why(lambda: nested(6, 1))
    first = found.first
    assert (first.kind, first.path) == ("nested_map", "site.shops.orders")
    assert first.facts["maps"] == 6
    assert "The nested map 'orders', which ran 6 times inside items of 'shops'" in first.text
    # All six at once, each 0.1 s shorter: that is 0.1 s, not 0.6.
    await check_gain(found, lambda: nested(6, 2))


async def test_what_items_of_one_worker_gain_adds_up():
    found = await why(lambda: nested(3, 1))
    (inner,) = (one for one in found.findings if one.kind == "nested_map")
    # Two items of each worker's chain, each 0.1 s shorter.
    assert inner.gain_s == pytest.approx(0.2, abs=FINE_S / 2)
    # Twice the slots of the outer map: the same two are at the same time.
    assert inner.facts["beyond_s"] == pytest.approx(0.1, abs=FINE_S / 2)
    assert "of this is already counted under 1" in inner.text
    await check_gain(found, lambda: nested(3, 2), inner)


# --- what is said of a map elsewhere -------------------------------------------------------------------------------


def said_of(tree: TraceTree, path: str) -> str:
    """What the waterfall and the page say of a map."""
    places = Places(tree)
    (node,) = (one for one in tree if one.record.attributes.get(semconv.NODE_PATH) == path)
    words = [part for sentence in sentences_of(node, places) for part in sentence]
    return " ".join(part if isinstance(part, str) else part[0] for part in words)


def equal(limit: int) -> GraphNode:
    with GraphNode(name="copies") as graph:
        with MapNode(
            name="regions", inputs={"s": Each([0.3] * 3)}, max_concurrency=limit
        ) as regions:
            START >> nap(name="copy", inputs={"s": PARENT["s"]}) >> END
        START >> regions >> END
    return graph


async def test_equal_items_on_too_few_slots_are_no_stragglers():
    tree = await recorded(lambda: equal(2))
    found = diagnose(tree)
    assert [one.kind for one in found.findings] == ["limit_too_low"]
    assert "to 3," in found.first.remedy
    assert "Bound by its limit" in said_of(tree, "copies.regions")
    await check_gain(found, lambda: equal(3))


async def test_equal_items_all_at_once_are_no_stragglers():
    tree = await recorded(lambda: equal(3))
    assert [one.kind for one in diagnose(tree).findings] == ["all_fine"]
    assert "All items ran at once; the longest decides." in said_of(tree, "copies.regions")


async def test_a_map_is_said_to_be_bound_by_what_it_is_diagnosed_with():
    tree = await recorded(straggling)
    assert "Bound by stragglers" in said_of(tree, "ocr.scans")
    tree = await recorded(beside)
    assert "Bound by the event loop" in said_of(tree, "ingest.docs")


# --- 10: all fine --------------------------------------------------------------------------------------------------


async def test_all_fine():
    with GraphNode(name="calm") as graph:
        load = nap(name="load", inputs={"s": 0.3})
        with MapNode(name="each", inputs={"s": Each([0.2] * 6)}, max_concurrency=6) as each:
            START >> nap(name="work", inputs={"s": PARENT["s"]}) >> END
        save = nap(name="save", inputs={"s": 0.1})
        START >> load >> each >> save >> END
    found = await why(lambda: graph)
    assert [one.kind for one in found.findings] == ["all_fine"]
    # On trio any of the equal items may be the last.
    labels = [label.partition("[")[0] for label, _ in found.first.facts["steps"]]
    assert labels == ["load", "each", "save"]
    assert "load" in str(found)
