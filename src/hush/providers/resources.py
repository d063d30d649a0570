"""Resources: what a graph's nodes call, with limits of the process and clients of the loop.

A client belongs to one event loop and is shared by all who call its resource there. Whoever
runs holds the clients; when nobody does any more, they are closed.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import openai

from hush.errors import text_of
from hush.log import get_logger
from hush.providers.circuit import Circuit
from hush.providers.limiter import Limiter
from hush.providers.resource import OPENAI_BASE_URL
from hush.providers.tokens import Calibration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hush.providers.hub import ResourceHub
    from hush.providers.resource import LLMResource

__all__ = ("Endpoint", "Resources", "Shared")

CLOSING_S = 5.0
"""How long closing a client may take, also while everything is being cancelled."""


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What all callers of one resource share, on whichever loop of the process."""

    limiter: Limiter
    circuit: Circuit
    calibration: Calibration

    @classmethod
    def of(cls, resource: LLMResource) -> Shared:
        """Return limits as a resource is configured.

        Args:
            resource: the configuration.
        """
        return cls(
            Limiter(
                resource.key,
                max_concurrency=resource.max_concurrency,
                requests_per_minute=resource.requests_per_minute,
                tokens_per_minute=resource.tokens_per_minute,
            ),
            Circuit(resource.circuit_failures, resource.circuit_cooldown_s),
            Calibration(),
        )


@dataclass(slots=True, eq=False)
class _Held:
    """A resource's client on one loop."""

    holders: int = 0
    client: openai.AsyncOpenAI | None = None
    made: anyio.Event | None = None
    """Set once the client has been made; None as long as nobody makes it."""


_held: anyio.lowlevel.RunVar[dict[Shared, _Held]] = anyio.lowlevel.RunVar("hush_llm_clients")


def _on_this_loop() -> dict[Shared, _Held]:
    try:
        return _held.get()
    except LookupError:
        made: dict[Shared, _Held] = {}
        _held.set(made)
        return made


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One resource that can be called."""

    resource: LLMResource
    shared: Shared

    @property
    def client(self) -> openai.AsyncOpenAI:
        """The client for the running event loop, made when it is first needed.

        Raises:
            RuntimeError: nobody holds the resource on this loop.
        """
        held = _on_this_loop().get(self.shared)
        if held is None:
            msg = f"{self.resource.key} is not open on this event loop"
            raise RuntimeError(msg)
        if held.client is None:
            held.client = make_client(self.resource)
        return held.client

    async def prepare(self) -> None:
        """Make the client where there is none yet, in a thread.

        It takes a tenth of a second the first time: as long would the event loop stand
        still, and no time limit and no hedge of a call may count it. What goes wrong, the
        call itself meets again and tells.
        """
        held = _on_this_loop()[self.shared]
        if held.client is not None:
            return
        if held.made is not None:
            await held.made.wait()
            return
        held.made = anyio.Event()
        try:
            await anyio.to_thread.run_sync(self._make, held)
        finally:
            held.made.set()

    def _make(self, held: _Held) -> None:
        with suppress(Exception):
            client = make_client(self.resource)
            # The client loads what it needs of itself when it is first asked.
            _ = client.chat.completions.with_raw_response
            # Here and not by whoever waits: a cancelled one would leave it unclosed.
            held.client = client


class Resources:
    """The resources of one graph; an engine has one such object."""

    def __init__(self, hub: ResourceHub, users: Mapping[str, str]) -> None:
        """Check the resources; nothing connects.

        Args:
            hub: where they are configured.
            users: names of resources, with the path of a node that uses each.

        Raises:
            ResourceError: one of them is missing or wrong.
        """
        self._hub = hub
        self._endpoints = {
            name: Endpoint(resource, hub.state(name, partial(Shared.of, resource)))
            for name, resource in hub.resolve(users, used_by=users).items()
        }
        self._draws: dict[object, random.Random] = {}

    def draws(self, node: object, seed: int) -> random.Random:
        """Return the random numbers that a node balances its load by.

        Args:
            node: whose; each has a sequence of its own, in each engine the same one.
            seed: where the sequence begins.
        """
        return self._draws.setdefault(node, random.Random(seed))  # noqa: S311  # no secret hangs on it

    def packed(self, names: Iterable[str]) -> bytes:
        """Return the definition of some resources for a worker, variables not filled in.

        Args:
            names: of resources.
        """
        from hush.providers.travelling import pack_resources  # noqa: PLC0415  # seldom wanted

        return pack_resources(self._hub, names)

    def endpoint(self, name: str) -> Endpoint:
        """Return a resource by its name, with or without ``llm:`` before it."""
        return self._endpoints[name.removeprefix("llm:")]

    def hold(self) -> None:
        """Keep this loop's clients open until :meth:`release`; makes none by itself."""
        held = _on_this_loop()
        for endpoint in self._endpoints.values():
            held.setdefault(endpoint.shared, _Held()).holders += 1

    async def release(self) -> None:
        """Give up what :meth:`hold` kept; the last one closes the clients.

        Closing is shielded from cancellation for at most ``CLOSING_S`` seconds.
        """
        held = _on_this_loop()
        left: dict[str, openai.AsyncOpenAI] = {}
        for endpoint in self._endpoints.values():
            one = held[endpoint.shared]
            one.holders -= 1
            if not one.holders:
                # Taken out first: a run that starts while this one closes makes its own.
                del held[endpoint.shared]
                if one.client is not None:
                    left[endpoint.resource.key] = one.client
        if left:
            with anyio.move_on_after(CLOSING_S, shield=True):
                async with anyio.create_task_group() as group:
                    for key, client in left.items():
                        group.start_soon(_close, client, key)


async def _close(client: openai.AsyncOpenAI, key: str) -> None:
    try:
        await client.close()
    except Exception as error:  # noqa: BLE001  # the answers are there; a run does not fail for this
        get_logger().warning(
            "closing a client failed; its connections may stay open for a while",
            resource=key,
            error=f"{type(error).__name__}: {text_of(error):.200}",
        )


def make_client(resource: LLMResource) -> openai.AsyncOpenAI:
    """Return a client that makes each call once: retries are the runtime's.

    Args:
        resource: the configuration.
    """
    timeout = openai.Timeout(resource.timeout_s, connect=resource.connect_timeout_s)
    api_key = resource.api_key.get_secret_value()
    # The deployment is the model's name in each call: one client can serve several.
    client: openai.AsyncOpenAI
    if resource.api_type == "azure":
        assert resource.base_url is not None  # noqa: S101  # checked with the configuration
        client = openai.AsyncAzureOpenAI(
            api_key=api_key,
            azure_endpoint=resource.base_url,
            api_version=resource.api_version,
            default_headers=resource.headers,
            timeout=timeout,
            max_retries=0,
        )
    else:
        client = openai.AsyncOpenAI(
            api_key=api_key,
            # Given in any case, else the client would read OPENAI_BASE_URL behind our back.
            base_url=resource.base_url or OPENAI_BASE_URL,
            organization=resource.organization,
            project=resource.project,
            default_headers=resource.headers,
            timeout=timeout,
            max_retries=0,
        )
    if resource.base_url is not None:
        # The client takes these from OPENAI_ORG_ID and OPENAI_PROJECT_ID; another server
        # has no business knowing them.
        client.organization, client.project = resource.organization, resource.project
    return client
