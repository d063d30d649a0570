"""Policies: what may be given as retries, time limits and choices, and what is wrong if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hush.model.contract import Flaw
from hush.model.retry import Retry, is_finite
from hush.model.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("budget_flaws", "executor_flaws", "is_duration", "one_of", "policy_flaws")

EXECUTOR = ("__aenter__", "__aexit__", "call", "capabilities", "name", "slots")
"""What there has to be of an executor."""


def policy_flaws(retry: object, timeout_s: object, deadline_s: object) -> Iterable[Flaw]:
    """Check a retry policy and time limits.

    Args:
        retry: what was given as ``retry=``.
        timeout_s: likewise.
        deadline_s: likewise.

    Yields:
        What is wrong with them.
    """
    for policy, value in (("timeout_s", timeout_s), ("deadline_s", deadline_s)):
        if value is not None and not is_duration(value):
            yield Flaw(
                "bad-policy",
                f"{policy}={shown(value)}",
                "Give a positive number of seconds, or None",
            )
    if retry is not None and not isinstance(retry, Retry):
        yield Flaw("bad-policy", f"retry={shown(retry)}", "Give Retry(attempts=...) or None")


def budget_flaws(budget: object) -> Iterable[Flaw]:
    """Check a span budget.

    Args:
        budget: what was given as ``span_budget=``.

    Yields:
        What is wrong with it.
    """
    if budget is not None and (
        not isinstance(budget, int) or isinstance(budget, bool) or budget < 1
    ):
        yield Flaw("bad-policy", f"span_budget={shown(budget)}", "Give a positive integer or None")


def executor_flaws(executor: object) -> Iterable[Flaw]:
    """Check an executor.

    Args:
        executor: what was given as ``executor=``; None is none.

    Yields:
        What is wrong with it.
    """
    if executor is None:
        return
    if isinstance(executor, type):
        remedy = f"Make one: {executor.__name__}()"
    elif all(
        hasattr(type(executor), n) or n in getattr(executor, "__dict__", ()) for n in EXECUTOR
    ):
        return
    else:
        remedy = "Give one of hush.executors, such as Processes(), or None"
    yield Flaw("bad-executor", f"executor={shown(executor)}", remedy)


def is_duration(value: object) -> bool:
    """Say whether ``value`` is a positive, finite number of seconds."""
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and is_finite(value)
        and value > 0
    )


def one_of(value: object, choices: tuple[str, ...]) -> bool:
    """Say whether ``value`` is one of some strings; anything may be given by mistake."""
    return isinstance(value, str) and value in choices
