"""The workflows: an order that is enriched from three sides, and pages of a catalogue."""

import time
from collections.abc import Mapping
from typing import Any

from backends import NOBODY, Backends

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    First,
    GraphNode,
    MapNode,
    Retry,
    code_node,
)
from hush.providers import LLMChainNode


def scripted_reply(request: Mapping[str, Any]) -> str:
    """Answer for the model where there is none."""
    del request
    return "Dear customer, here is what we can do for you."


def build_orders(behind: Backends) -> GraphNode:
    """Return the workflow of an order.

    ``offer`` waits for three: ``stock``, a map over the items that bears failures, ``price``,
    which is tried again, and ``history``, which is usually the last. Beside them two replicas
    race, and a model writes a greeting; another call to it writes the letter.

    Inputs: ``customer`` (a name) and ``items`` (a list of article numbers).
    """

    async def look_up(item: str) -> dict[str, Any]:
        """Ask for one item; some answers get lost, and some items are gone."""
        await behind.answer(0.01, 0.05)
        if item.startswith("gone-"):
            raise LookupError(f"{item} is no longer made")
        if behind.at_random(0.05):
            raise ConnectionError("stock: connection reset by peer")
        return {"pieces": len(item)}

    @code_node(retry=Retry(3, on=TimeoutError, initial_s=0.02))
    async def price(items: list[str]) -> dict[str, Any]:
        """Ask for the price, which takes several tries now and then."""
        await behind.answer(0.02, 0.08)
        if behind.at_random(0.04):
            raise ConnectionError("price: connection reset by peer")
        if behind.at_random(0.15):
            raise TimeoutError("price: no answer")
        return {"price": 10 * len(items)}

    @code_node
    async def history(customer: str) -> dict[str, Any]:
        """Fetch what was bought before; one in thirty never comes."""
        if behind.at_random(1 / 30):
            await behind.hang()
        await behind.answer(0.01 + behind.slow_s, 0.4 + behind.slow_s)
        if customer == NOBODY:
            raise LookupError("history: no such customer")
        return {"discount": len(customer) % 3}

    @code_node
    async def nearby(customer: str) -> dict[str, Any]:
        """Ask the replica that is near."""
        await behind.answer(0.02, 0.06)
        return {"route": f"near {customer}"}

    @code_node
    async def far_away(customer: str) -> dict[str, Any]:
        """Ask the replica that is far; the race below cancels whoever is late."""
        await behind.answer(0.03, 0.09)
        return {"route": f"far from {customer}"}

    @code_node
    async def deliver(route: str) -> dict[str, Any]:
        """Go on with whichever answered first."""
        return {"delivery": route}

    @code_node
    async def offer(
        pieces: list[int | None], price: int, discount: int, missing: list[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Put together what the three have found. Computes on the loop, which it should not."""
        if behind.at_random(0.03):
            time.sleep(0.15)  # what hush.loop_blocked_s is there to show
        have = sum(number or 0 for number in pieces)
        return {"offer": f"{have} pieces at {price - discount}", "lacking": len(missing)}

    with GraphNode(name="orders") as orders:
        with MapNode(
            name="stock",
            inputs={"item": Each(PARENT["items"])},
            max_concurrency=4,
            on_error="collect",
            max_failures=0.75,
            retry=Retry(2, on=ConnectionError, initial_s=0.01),
        ) as stock:
            found = CodeNode(
                name="look_up",
                code_fn=look_up,
                inputs={"item": PARENT["item"]},
                outputs={"pieces": PARENT},
            )
            START >> found >> END
        priced = price(inputs={"items": PARENT})
        known = history(inputs={"customer": PARENT})
        near = nearby(inputs={"customer": PARENT}, outputs={"route": PARENT})
        far = far_away(inputs={"customer": PARENT}, outputs={"route": PARENT})
        delivery = deliver(
            inputs={"route": PARENT}, outputs={"delivery": PARENT}, join=First(cancel_rest=True)
        )
        offered = offer(
            inputs={
                "pieces": stock["pieces"],
                "missing": stock["errors"],
                "price": priced["price"],
                "discount": known["discount"],
            },
            outputs={"offer": PARENT, "lacking": PARENT},
        )
        # Side by side with the rest: what it has said is wasted when the order fails.
        greeting = LLMChainNode(
            name="greeting",
            resource_key="writer",
            stream=True,
            on_error="capture",
            inputs={"prompt": "Greet {customer} in one line.", "customer": PARENT},
            outputs={"content": PARENT["greeting"]},
        )
        letter = LLMChainNode(
            name="letter",
            resource_key="writer",
            stream=True,
            on_error="capture",
            inputs={"prompt": "Write two lines that offer {offer}.", "offer": offered},
            outputs={"content": PARENT["letter"]},
        )
        START >> [stock, priced, known] >> offered >> letter >> END
        START >> greeting >> END
        START >> [near, far] >> delivery >> END
    return orders


def build_pages(behind: Backends) -> GraphNode:
    """Return the workflow that reads pages of a catalogue: a map that is at its limit.

    Inputs: ``pages`` (a list of numbers).
    """

    @code_node(retry=Retry(2, on=ConnectionError, initial_s=0.01))
    async def fetch(page: int) -> dict[str, Any]:
        """Fetch a page: some are slow, some fail at first, some are handled, some are not."""
        if behind.at_random(1 / 400):
            await behind.hang()
        await behind.answer(*((0.2, 0.6) if behind.at_random(0.05) else (0.01, 0.05)))
        if behind.at_random(0.05):
            raise ConnectionError("reset by peer")
        if behind.at_random(0.02):
            raise ValueError(f"page {page} is no HTML")
        if behind.at_random(0.03):
            return {"words": None, "error": "503 Service Unavailable"}
        return {"words": 100 + page, "error": None}

    @code_node
    def total(words: list[int | None], errors: list[Mapping[str, Any]]) -> dict[str, Any]:
        """Add up, in a thread."""
        return {"words": sum(word or 0 for word in words), "failed": [e["index"] for e in errors]}

    with GraphNode(name="pages") as pages:
        with MapNode(
            name="fetch_all",
            inputs={"page": Each(PARENT["pages"])},
            max_concurrency=4,
            on_error="collect",
            max_failures=0.2,
        ) as each:
            got = fetch(inputs={"page": PARENT}, outputs={"words": PARENT, "error": PARENT})
            START >> got >> END
        added = total(
            inputs={"words": each["words"], "errors": each["errors"]}, outputs={"*": PARENT}
        )
        START >> each >> added >> END
    return pages
