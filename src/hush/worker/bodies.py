"""Bodies: what this process has unpacked and compiled, kept for the calls to come."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from hush.runtime.remote.packing import INDEX, load_body

if TYPE_CHECKING:
    from hush.plan.plan import Plan
    from hush.runtime.remote.call import Body

__all__ = ("LIMIT", "plan_of")

LIMIT: Final = 32
"""Most bodies that are kept; the one that was not asked for longest makes room."""

Key = tuple[str, str | None, str]

_lock = threading.Lock()
_loading: dict[Key, threading.Lock] = {}
_plans: OrderedDict[Key, Plan] = OrderedDict()


def plan_of(body: Body, path: str) -> Plan:
    """Return a body's plan, unpacked once in this process.

    Args:
        body: from a call.
        path: of the map or graph.

    Raises:
        PayloadError: it cannot be unpacked here.
    """
    key = body.digest, body.reference, INDEX.sub("", path)
    with _lock:
        plan = _known(key)
        if plan is not None:
            return plan
        loading = _loading.setdefault(key, threading.Lock())
    # Its functions may keep something of their own, so all calls get the same ones.
    with loading:
        with _lock:
            plan = _known(key)
        if plan is None:
            plan = load_body(body, path)
            with _lock:
                _plans[key] = plan
                while len(_plans) > LIMIT:
                    _plans.popitem(last=False)
    with _lock:
        _loading.pop(key, None)
    return plan


def _known(key: Key) -> Plan | None:
    plan = _plans.get(key)
    if plan is not None:
        _plans.move_to_end(key)
    return plan
