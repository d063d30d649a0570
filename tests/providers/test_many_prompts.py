"""A thousand prompts at a server that turns some away: nothing lost, nothing counted twice."""

from __future__ import annotations

import threading

from hush.core import Hush, Retry
from hush.testing import Answer, ErrorReply
from tests.providers.asking import asks_each, chats, events, traced

COUNT = 1_000
SLOTS = 50


class Script:
    """Replies by the request's number: each 20th gets 429, two of a hundred get 500."""

    def __init__(self):
        self._lock = threading.Lock()
        self.asked = 0
        self.refused = {429: 0, 500: 0}
        self.sent = self.said = 0

    def __call__(self, body):
        text = body["messages"][-1]["content"]
        number = int(text.removeprefix("prompt "))
        with self._lock:
            self.asked += 1
            if self.asked % 20 == 0:
                self.refused[429] += 1
                return ErrorReply(429, retry_after_s=0.05 if self.asked % 40 == 0 else None)
            if self.asked % 50 == 7:
                self.refused[500] += 1
                return ErrorReply(500)
            sent, said = 10 + number % 7, 1 + number % 13
            self.sent += sent
            self.said += said
        return Answer(f"answer {number}", prompt_tokens=sent, completion_tokens=said)


async def test_a_thousand_prompts(server):
    script = Script()
    server.default("m", script)
    # Eight tries, because which prompt meets which number is chance.
    graph = asks_each(
        [f"prompt {i}" for i in range(COUNT)], SLOTS, retry=Retry(8, initial_s=0.01, jitter=0.5)
    )
    prices = {"input_usd_per_million": 1.0, "output_usd_per_million": 3.0}
    engine = Hush(graph, resources=server.resources("m", **prices))
    result, tree = await traced(engine)
    assert result["content"] == [f"answer {i}" for i in range(COUNT)]

    calls = len(server.requests)
    assert script.asked == calls
    assert script.refused == {429: calls // 20, 500: (calls + 43) // 50}
    assert calls == COUNT + sum(script.refused.values())

    usage = result.usage
    assert (usage.calls, usage.input_tokens, usage.output_tokens) == (
        calls,
        script.sent,
        script.said,
    )
    assert (usage.wasted_tokens, usage.complete) == (0, True)
    assert abs(usage.cost_usd - (script.sent + 3 * script.said) / 1e6) < 1e-9
    for above in (tree.root, tree.one("map each")):
        told = above.record.attributes
        assert told["hush.tokens.input"] == script.sent
        assert told["hush.tokens.output"] == script.said
        assert told["hush.tokens.complete"] is True

    # One span a call, each under the node that made it; what failed is red and nothing else.
    spans = chats(tree)
    assert len(spans) == calls
    assert sum(span.attributes.get("gen_ai.usage.input_tokens", 0) for span in spans) == script.sent
    assert len([span for span in spans if span.is_red]) == sum(script.refused.values())
    nodes = [node.record for node in tree.all("node ask")]
    assert len(nodes) == COUNT
    assert not any(node.is_red for node in nodes)
    retries = [one for node in nodes for one in events(node, "hush.retry")]
    for status, refused in script.refused.items():
        assert sum(one["error.type"] == str(status) for one in retries) == refused

    # The staircase: never above the limit, and up to it.
    assert tree.max_overlap("item each") == SLOTS
    assert tree.one("map each").record.attributes["hush.map.ok"] == COUNT
    assert server.peak_active <= SLOTS
    assert len({request.port for request in server.requests}) <= SLOTS
