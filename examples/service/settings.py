"""What may be set about the service: one variable each, checked before anything starts."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True, slots=True)
class Settings:
    """The variables are called like the fields, in capitals: ``MAX_RUNS=32``."""

    host: str = "127.0.0.1"
    """Where it listens; 0.0.0.0 in a container."""
    port: int = 8080
    """For requests, metrics and probes; 0 takes any and logs which."""
    max_runs: int = 64
    """Runs at once; more than that wait."""
    max_waiting: int = 64
    """Requests that may wait for their turn; more than that are turned away with 503."""
    max_wait_s: float = 1.0
    """For how long one waits before it is turned away."""
    deadline_s: float = 3.0
    """The most that a run may take; a request may ask for less."""
    max_body_bytes: int = 65_536
    """Larger requests are turned away with 413, before they are read."""
    linger_s: float = 0.0
    """For how long requests are still taken after SIGTERM, until load balancers know."""
    drain_s: float = 20.0
    """For how long runs may go on after that; what is left is cancelled."""
    slow_s: float = 0.0
    """How much longer than usual the slowest of what is behind the service takes."""
    faults: float = 1.0
    """How much goes wrong behind the service, as a multiple of the usual; 0 is nothing."""

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> Self:
        """Read the variables.

        Raises:
            ValueError: one of them is none of what it may be.
        """
        given = {}
        for field in fields(cls):
            text = variables.get(field.name.upper(), "").strip()
            if text:
                given[field.name] = _parse(field.name, type(field.default), text)
        return cls(**given)


def _parse(name: str, kind: type, text: str) -> str | int | float:
    least = 1 if name in {"max_runs", "max_body_bytes"} else 0
    try:
        value = kind(text)
    except ValueError:
        value = None
    if kind is str:
        return text
    if value is None or not math.isfinite(value) or value < least:
        expected = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name.upper()}={text!r}: expected {expected}, {least} or more")
    return value
