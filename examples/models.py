"""Which language models the examples talk to: yours, or scripted ones on loopback.

A file of resources (``HUSH_CONFIG``, or ``resources.yaml`` here or in a folder above) comes
first, then ``OPENAI_API_KEY``. Without either, a server is started on loopback that speaks the
same API and answers what a script says, now and then with an error, as real ones do.
"""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import show
import yaml

from hush.core import ResourceError
from hush.providers import ResourceHub
from hush.testing import Answer, ErrorReply, ScriptedLLMServer

# A large, a small and another model. Prices are dollars for a million tokens in and out.
SCRIPTED = {"gpt-4o": (2.50, 10.00), "gpt-4o-mini": (0.15, 0.60), "qwen-3-8b": (0.05, 0.20)}
# With OPENAI_API_KEY: what is cheap; what they really cost is on the bill.
OPENAI = {"gpt-4.1-mini": (0.40, 1.60), "gpt-4.1-nano": (0.10, 0.40), "gpt-4o-mini": (0.15, 0.60)}
OPENAI_URL = "${OPENAI_BASE_URL:-https://api.openai.com/v1}"
PRICES = ("input_usd_per_million", "output_usd_per_million")


@dataclass(frozen=True)
class Models:
    """Names of resources by what they are for, and the resources themselves."""

    large: str
    small: str
    other: str
    resources: ResourceHub
    mapping: Mapping[str, Any]
    """The same resources as they were written."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names, each once."""
        return tuple(dict.fromkeys((self.large, self.small, self.other)))

    def plus(self, name: str, **fields: Any) -> ResourceHub:
        """Return the resources and another one, like the small one but for some fields."""
        alike = {**self.mapping[f"llm:{self.small}"], **fields}
        return ResourceHub.from_mapping({**self.mapping, f"llm:{name}": alike})


class Script:
    """Answers of a scripted model: a function of the request, and errors at some requests."""

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], Answer],
        errors: Mapping[int, ErrorReply] | None = None,
    ) -> None:
        """Take the function, and the errors by the number of the request, from 1."""
        self._answer = answer
        self._errors = errors or {}
        self._numbers = count(1)

    def __call__(self, body: dict[str, Any]) -> Answer | ErrorReply:
        """Answer a request."""
        return self._errors.get(next(self._numbers)) or self._answer(body)


def said_by(body: Mapping[str, Any], role: str) -> str:
    """Return the last text of a role in a request."""
    texts = [m.get("content") for m in body["messages"] if m.get("role") == role]
    return str(texts[-1] or "") if texts else ""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Let the user name resources of a file of their own."""
    parser.add_argument(
        "--models", metavar="LARGE,SMALL,OTHER", help="resources of your file, one to three"
    )


@contextmanager
def choose(
    script: Callable[[ScriptedLLMServer, Models], None],
    wanted: str | None = None,
    *,
    small_per_minute: int | None = None,
) -> Iterator[Models]:
    """Choose models for the time of a block, and say which in one line.

    Args:
        script: tells a scripted server what to answer.
        wanted: names of resources, comma-separated; None chooses.
        small_per_minute: how many requests the scripted small model takes; None is any
            number.
    """
    if os.environ.get("HUSH_CONFIG") or _is_above("resources.yaml"):
        yield _of_file(wanted)
        return
    if os.environ.get("OPENAI_API_KEY"):
        mapping = {
            f"llm:{name}": {
                "api_key": "${OPENAI_API_KEY}",
                "base_url": OPENAI_URL,
                "model": name,
                **dict(zip(PRICES, prices, strict=True)),
            }
            for name, prices in OPENAI.items()
        }
        show.say(f"OPENAI_API_KEY is set: {', '.join(OPENAI)}")
        yield _models(list(OPENAI), mapping, wanted)
        return
    with ScriptedLLMServer() as server:
        mapping = {}
        for name, prices in SCRIPTED.items():
            mapping |= server.resources(name, **dict(zip(PRICES, prices, strict=True)))
        mapping["llm:gpt-4o-mini"]["requests_per_minute"] = small_per_minute
        models = _models(list(SCRIPTED), mapping, wanted)
        script(server, models)
        show.say(
            "Answers and prices are scripted; OPENAI_API_KEY or HUSH_CONFIG gives real ones.",
            "yellow",
        )
        yield models


def _is_above(name: str) -> bool:
    here = Path.cwd()
    return any((folder / name).is_file() for folder in (here, *here.parents))


def _of_file(wanted: str | None) -> Models:
    hub = ResourceHub.default()
    names = list(hub.names)
    if not names:
        raise ResourceError(hub.source, [("", "configures no language model: see docs/models.md")])
    # Those that the documentation speaks of, where the file has them.
    names.sort(key=lambda name: list(SCRIPTED).index(name) if name in SCRIPTED else len(SCRIPTED))
    mapping = yaml.safe_load(Path(hub.source).read_text(encoding="utf-8"))
    entries = {key: value for key, value in mapping.items() if str(key).startswith("llm:")}
    models = _models(names, entries, wanted, hub)
    show.say(f"Models of {hub.source}: {', '.join(models.names)}")
    return models


def _models(
    names: list[str],
    mapping: Mapping[str, Any],
    wanted: str | None,
    resources: ResourceHub | None = None,
) -> Models:
    hub = resources or ResourceHub.from_mapping(mapping)
    chosen = [name.strip() for name in wanted.split(",")] if wanted else names
    large, small, other = (chosen[min(at, len(chosen) - 1)] for at in range(3))
    hub.resolve((large, small, other))  # what is wrong with them is said before anything runs
    return Models(large, small, other, hub, mapping)
