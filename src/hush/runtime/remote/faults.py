"""Faults: errors as data on their way from a worker to the driver, and errors again there.

An exception travels where it comes out of a pickle as it was; else a stand-in does that has its
type's name, its text and the text of its traceback. Either way a failure in a worker looks like
one in the driver's own process, and never like one of the engine that carried it.
"""

from __future__ import annotations

import io
import re
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from hush.errors import Failure, LLMError, RemoteError, text_of, type_name
from hush.runtime.failing import failure_of
from hush.runtime.remote.call import Fault
from hush.runtime.remote.pickling import PROTOCOL, Pickler, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("INTERRUPT", "fault_of", "faults_of", "interrupt_of", "pack_fault", "unpack_fault")

INTERRUPT: Final = "interrupt"
"""Kind of a fault that is no failure: what is no Exception has to come out of the run."""

TRACEBACK_LIMIT: Final = 16_384
"""Longest text of a traceback, in characters; its beginning is left out."""
EXCEPTION_BYTES: Final = 1_048_576
"""Largest exception that travels."""
CHAIN: Final = 8
"""Causes and contexts that travel with an exception."""

_LAST_INDEX: Final = re.compile(r"\[(\d+)\][^\[\]]*\Z")


def faults_of(error: Exception, path: str, *, attempts: int = 1) -> tuple[Fault, ...]:
    """Describe what an attempt failed with.

    Args:
        error: what came out of it.
        path: of the item or graph.
        attempts: how many attempts were made in the worker.

    Returns:
        The faults, the first cause first.
    """
    failures = failure_of(error, path, index=None, attempts=attempts)
    return tuple(pack_fault(failure) for failure in failures)


def fault_of(error: BaseException, path: str, kind: str = "raised") -> Fault:
    """Describe one exception.

    Args:
        error: any.
        path: where it was raised.
        kind: as in :class:`~hush.errors.Failure`, or ``interrupt``.
    """
    return pack_fault(Failure(path, kind, type_name(error), text_of(error), exception=error))


def pack_fault(failure: Failure) -> Fault:
    """Make data of a failure."""
    error = failure.exception
    return Fault(
        path=failure.path,
        kind=failure.kind,
        error_type=failure.error_type,
        message=failure.message,
        attempts=failure.attempts,
        traceback="" if error is None else _trace_of(error),
        exception=None if error is None else _packed(error),
    )


def unpack_fault(fault: Fault) -> Failure:
    """Make a failure of data.

    Args:
        fault: from a worker.

    Returns:
        The failure, as if it had happened here; its exception has the traceback in the
        worker as a note.
    """
    match = _LAST_INDEX.search(fault.path)
    exception = None
    if fault.exception is not None or fault.error_type != "handled":
        exception = _unpacked(fault)
    return Failure(
        fault.path,
        fault.kind,
        fault.error_type,
        fault.message,
        None if match is None else int(match[1]),
        fault.attempts,
        exception=exception,
    )


def interrupt_of(faults: Iterable[Fault]) -> BaseException | None:
    """Return what has to come out of the run, such as a SystemExit that a node raised."""
    for fault in faults:
        if fault.kind == INTERRUPT:
            return unpack_fault(fault).exception
    return None


# --- in the worker ----------------------------------------------------------------------------------


class _FaultPickler(Pickler):
    """Pickles exceptions, and stand-ins for those inside that do not survive it."""

    def __init__(self, file: io.BytesIO, root: BaseException) -> None:
        super().__init__(file, protocol=PROTOCOL)
        self._root = root

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, BaseException) and obj is not self._root:
            data = _survivor(obj)
            if data is None:
                return _stand_in_for(obj).__reduce__()
            return loads, (data,)
        return super().reducer_override(obj)


class _StandIn:
    """What a stand-in is made of; an object of its own, so that it reduces as it likes."""

    def __init__(self, error: BaseException) -> None:
        self._facts = (type_name(error), text_of(error), _trace_of(error))
        self._kind = _travelling(type(error))
        state = getattr(error, "__dict__", {})
        self._state = {name: one for name, one in state.items() if _travelling(one) is not None}

    def __reduce__(self) -> tuple[Any, ...]:
        return _stand_in, (self._kind, self._facts, self._state)


def _stand_in_for(error: BaseException) -> _StandIn:
    return _StandIn(error)


def _travelling(value: object) -> bytes | None:
    try:
        data = dumps(value)
        loads(data)
    except Exception:  # noqa: BLE001  # whatever its own methods raise
        return None
    return data if len(data) <= EXCEPTION_BYTES else None


def _survivor(error: BaseException) -> bytes | None:
    """Return an exception pickled, where it comes out of that as it was."""
    file = io.BytesIO()
    try:
        _FaultPickler(file, error).dump(error)
        data = file.getvalue()
        if len(data) > EXCEPTION_BYTES:
            return None
        back = loads(data)
        same = type(back) is type(error) and text_of(back) == text_of(error)
    except Exception:  # noqa: BLE001  # whatever its own methods raise
        return None
    return data if same else None


def _packed(error: BaseException) -> bytes | None:
    """Return an exception with what it came from; None where not even a stand-in travels."""
    chain: list[tuple[bytes, str]] = []
    at: BaseException | None = error
    seen: set[int] = set()
    bare = False
    while at is not None and id(at) not in seen and len(chain) < CHAIN:
        seen.add(id(at))
        link = "none"
        following = at.__cause__
        if following is not None:
            link = "cause"
        elif not at.__suppress_context__:
            following, link = at.__context__, "context"
        try:
            data = dumps(_bare(at)) if bare else _survivor(at) or dumps(_stand_in_for(at))
        except Exception:  # noqa: BLE001  # as above
            break
        chain.append((data, link if following is not None else "none"))
        # What a model's client raised holds the request, and that the worker's own key.
        bare = bare or isinstance(at, LLMError)
        at = following
    return dumps(chain) if chain else None


def _bare(error: BaseException) -> RemoteError:
    return RemoteError(type_name(error), text_of(error), _trace_of(error))


def _trace_of(error: BaseException) -> str:
    if isinstance(error, RemoteError):
        return error.traceback
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  # its __str__ or a loader of sources
        return ""
    return text if len(text) <= TRACEBACK_LIMIT else f"[…]\n{text[-TRACEBACK_LIMIT:]}"


# --- in the driver ----------------------------------------------------------------------------------


def _unpacked(fault: Fault) -> BaseException:
    error: BaseException | None = None
    if fault.exception is not None:
        try:
            error = _chained(loads(fault.exception))
        except Exception:  # noqa: BLE001  # a class that is not here, or its own methods
            error = None
    if error is None:
        error = RemoteError(fault.error_type, fault.message, fault.traceback)
    if fault.traceback:
        with suppress(Exception):  # an exception may refuse attributes; it matters more than a note
            error.add_note(f"In the worker:\n{fault.traceback.rstrip()}")
    return error


def _chained(chain: list[tuple[bytes, str]]) -> BaseException:
    errors: list[BaseException] = []
    for data, _ in chain:
        one = loads(data)
        if not isinstance(one, BaseException):
            break
        errors.append(one)
    for (_, link), error, following in zip(chain, errors, errors[1:], strict=False):
        # As Python itself does: past a class that refuses attributes.
        if link == "cause":
            BaseException.__setattr__(error, "__cause__", following)
        elif link == "context":
            BaseException.__setattr__(error, "__context__", following)
    return errors[0]


def _stand_in(kind: bytes | None, facts: tuple[str, str, str], state: dict[str, Any]) -> Any:
    made: RemoteError | None = None
    if kind is not None:
        made = _of_class(loads(kind), facts)
    if made is None:
        made = RemoteError(*facts)
    for name, value in state.items():
        if name not in vars(made):
            vars(made)[name] = value
    return made


def _of_class(kind: type, facts: tuple[str, str, str]) -> RemoteError | None:
    """Return a stand-in that is also of the original's class, where there can be such."""
    if not issubclass(kind, Exception):
        return None
    try:
        both: type[RemoteError] = type(kind.__name__, (RemoteError, kind), {"__slots__": ()})
        made = both.__new__(both, facts[1])
        RemoteError.__init__(made, *facts)
    except Exception:  # noqa: BLE001  # classes that do not go together, or refuse heirs
        return None
    return made
