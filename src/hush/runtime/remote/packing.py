"""Packing: bodies and values as bytes, and back, with errors that name what does not travel.

The driver packs a body once for all its calls; a worker unpacks it once for all the calls
that it gets. Items are packed each by itself.
"""

from __future__ import annotations

import hashlib
import re
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hush import semconv
from hush.errors import GraphError, PayloadError, Problem, text_of
from hush.log import get_logger, log_fault
from hush.model.graph import Graph
from hush.plan.compile import compile_body
from hush.runtime.remote.call import SCHEMA, Body, Call, CallReport
from hush.runtime.remote.definition import definition_digest
from hush.runtime.remote.pickling import dumps, dumps_body, loads
from hush.runtime.remote.reference import find_graph
from hush.runtime.remote.unpicklable import why_not
from hush.runtime.remote.unsendable import REMEDY, unsendable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hush.plan.plan import Plan
    from hush.runtime.instrument import Instrument

__all__ = (
    "body_problems",
    "load_body",
    "pack_body",
    "pack_call",
    "pack_report",
    "pack_telemetry",
    "pack_values",
    "unpack_call",
    "unpack_report",
    "unpack_values",
)

Packed = TypeVar("Packed", Call, CallReport)

PYTHON: Final = sys.version_info[:2]

LARGE_BYTES: Final = 1_048_576
"""From which size on a body is worth a warning."""

INDEX: Final = re.compile(r"\[\d+\]")
"""What tells items apart in a path."""

# --- bodies ------------------------------------------------------------------------------------


def pack_body(graph: Graph, path: str, reference: str | None = None) -> Body:
    """Pack what a worker runs.

    Args:
        graph: the node whose body travels: a map or a graph.
        path: its path.
        reference: ``module:attribute`` of the top graph, for workers to import; None sends the
            body by value, as it is now.

    Returns:
        The body, for any number of calls.

    Raises:
        GraphError: it cannot be pickled, or not be found by the reference; all that is wrong
            is in it.
    """
    problems: list[Problem] = []
    code = b""
    if reference is None:
        try:
            code = dumps_body(graph)
        except Exception:  # noqa: BLE001  # whatever anybody's __reduce__ raises
            problems = body_problems(graph, path)
    else:
        problems = body_problems(graph, path, reference)
    if problems:
        raise GraphError(path.partition(".")[0], problems)
    if reference is not None:
        return Body(definition_digest(graph), reference, None, PYTHON)
    if len(code) > LARGE_BYTES:
        get_logger().warning(
            "a body is large, and each call to a worker carries it; let functions load what "
            "they close over once for each worker, under functools.cache, or let workers import "
            "the graph: body='module:attribute'",
            **{semconv.NODE_PATH: path},
            bytes=len(code),
        )
    return Body(hashlib.sha256(code).hexdigest(), None, code, PYTHON)


def body_problems(graph: Graph, path: str, reference: str | None = None) -> list[Problem]:
    """Find what keeps a body from travelling.

    Args:
        graph: as for :func:`pack_body`.
        path: likewise.
        reference: likewise.

    Returns:
        A problem for each thing that does not travel; empty where all does.
    """
    if reference is not None:
        return list(_reference_problems(graph, path, reference))
    try:
        dumps_body(graph)
    except Exception as error:  # noqa: BLE001  # whatever anybody's __reduce__ raises
        found = list(unsendable(graph, path))
        said = f"its body cannot be pickled: {text_of(error)}"
        return found or [Problem("unpicklable", path, said, REMEDY)]
    return []


def _reference_problems(graph: Graph, path: str, reference: str) -> Iterator[Problem]:
    rule = "bad-reference"
    if reference.partition(":")[0] == "__main__":
        said = f"body={reference!r}: workers have a __main__ of their own"
        yield Problem(rule, path, said, "Put the graph into a module that workers can import")
        return
    try:
        there = find_graph(reference, path)
    except Exception as error:  # noqa: BLE001  # importing runs anybody's code
        said = f"body={reference!r} cannot be used: {text_of(error)}"
        yield Problem(rule, path, said, "Name the top graph, or its Hush: 'package.module:graph'")
        return
    if definition_digest(there) != definition_digest(graph):
        said = f"body={reference!r} is another graph than this one"
        yield Problem(rule, path, said, "Name the graph that is run")


def load_body(body: Body, path: str) -> Plan:
    """Unpack and compile what a driver has packed.

    Args:
        body: from a call.
        path: of the map or graph; indexes of items do not count.

    Returns:
        The body's plan.

    Raises:
        PayloadError: it was made by another Python, is not here, or is another one here.
    """
    bare = INDEX.sub("", path)
    graph = _load(body, bare)
    try:
        return compile_body(graph, bare)
    except Exception as error:
        said = f"its body cannot be compiled in the worker: {text_of(error)}"
        raise PayloadError(path, said) from error


def _load(body: Body, path: str) -> Graph:
    if body.code is None:
        return _imported(body, path)
    if body.python != PYTHON:
        theirs, ours = (".".join(map(str, one)) for one in (body.python, PYTHON))
        said = f"its body was pickled by Python {theirs}, and the worker is Python {ours}. "
        said += "Give both the same version, or send it by reference: body='module:attribute'"
        raise PayloadError(path, said)
    if hashlib.sha256(body.code).hexdigest() != body.digest:
        raise PayloadError(path, "its body was changed on its way")
    try:
        graph = loads(body.code)
    except Exception as error:
        said = f"its body cannot be unpickled in the worker: {type(error).__name__}: "
        said += f"{text_of(error)}. What its functions import has to be installed there; "
        said += "cloudpickle.register_pickle_by_value(module) sends a module of yours along"
        raise PayloadError(path, said) from error
    if not isinstance(graph, Graph):
        raise PayloadError(path, f"its body is {type(graph).__name__}, expected a graph")
    return graph


def _imported(body: Body, path: str) -> Graph:
    assert body.reference is not None  # noqa: S101  # one of the two is there
    try:
        graph = find_graph(body.reference, path)
    except Exception as error:
        said = f"the worker cannot import body={body.reference!r}: {type(error).__name__}: "
        said += f"{text_of(error)}. Install the module where workers run"
        raise PayloadError(path, said) from error
    here = definition_digest(graph)
    if here != body.digest:
        said = f"body={body.reference!r} is another definition in the worker: "
        said += f"{here[:16]} there, {body.digest[:16]} in the driver. "
        said += "Deploy the same code and the same Python to both, and restart the workers"
        raise PayloadError(path, said)
    return graph


# --- values --------------------------------------------------------------------------------------


def pack_values(path: str, values: Mapping[str, Any], *, what: str = "input") -> bytes:
    """Pack the inputs or outputs of an item.

    Args:
        path: of the item, for the error.
        values: by name.
        what: what they are: ``input``, ``output``.

    Returns:
        The bytes.

    Raises:
        PayloadError: one of them cannot be pickled; says which, and what in it.
    """
    values = dict(values)
    try:
        return dumps(values)
    except Exception as error:
        for name, value in values.items():
            reason = why_not(value)
            if reason is not None:
                joint = "" if reason.startswith((".", "[")) else " "
                said = f"its {what} {name!r}{joint}{reason}, which cannot be pickled. "
                said += "Pass what it is made from instead: a path, an address, plain data"
                raise PayloadError(path, said) from error
        said = f"its {what}s cannot be pickled: {text_of(error)}"
        raise PayloadError(path, said) from error


def unpack_values(path: str, data: bytes, *, what: str = "input") -> dict[str, Any]:
    """Unpack what :func:`pack_values` has packed.

    Args:
        path: of the item, for the error.
        data: the bytes.
        what: what they are.

    Raises:
        PayloadError: they cannot be unpickled here.
    """
    try:
        values: dict[str, Any] = loads(data)
    except Exception as error:
        said = f"its {what}s cannot be unpickled: {type(error).__name__}: {text_of(error)}. "
        said += "Their classes have to be importable here"
        raise PayloadError(path, said) from error
    return values


# --- telemetry -----------------------------------------------------------------------------------


def pack_telemetry(instrument: Instrument) -> bytes | None:
    """Pack how a run is watched, for its workers to watch likewise.

    Args:
        instrument: the run's.

    Returns:
        The bytes; None where nobody watches, or where it does not travel: that is logged, and
        workers run unseen rather than with another redactor than the driver's.
    """
    facts = instrument.elsewhere()
    if not facts:
        return None
    try:
        return dumps(dict(facts))
    except Exception as error:  # noqa: BLE001  # telemetry never breaks a run
        reason = why_not(dict(facts)) or ""
        said = f"what watches this process cannot be sent to workers, which run unseen: {reason}"
        log_fault("hush.telemetry", said, error)
        return None


# --- calls ---------------------------------------------------------------------------------------


def pack_call(call: Call) -> bytes:
    """Pack a call."""
    return dumps((call.schema, call))


def unpack_call(payload: bytes) -> Call:
    """Unpack a call.

    Args:
        payload: from a driver.

    Raises:
        PayloadError: it is none that this version understands.
    """
    return _unpacked(payload, Call, "call")


def pack_report(report: CallReport) -> bytes:
    """Pack a report."""
    return dumps((report.schema, report))


def unpack_report(payload: bytes) -> CallReport:
    """Unpack a report.

    Args:
        payload: from a worker.

    Raises:
        PayloadError: it is none that this version understands.
    """
    return _unpacked(payload, CallReport, "report")


def _unpacked(payload: bytes, kind: type[Packed], what: str) -> Packed:
    try:
        schema, unpacked = loads(payload)
    except Exception as error:
        said = f"a {what} cannot be unpickled: {type(error).__name__}: {text_of(error)}. "
        said += "Install the same version of hush-runtime in driver and workers"
        raise PayloadError("hush", said) from error
    if schema != SCHEMA or not isinstance(unpacked, kind):
        said = f"a {what} has schema {schema}, expected {SCHEMA}. "
        said += "Install the same version of hush-runtime in driver and workers"
        raise PayloadError("hush", said)
    return unpacked
