"""What every engine runs in its workers: one function, named as text, called with bytes.

Only text and bytes cross, so that no engine has to pickle anything of ours, and whatever
goes wrong in the worker arrives as data with its traceback. It knows no engine and no loop,
and imports little: a worker that starts loads it first.
"""

from __future__ import annotations

import importlib
import operator
import sys
import traceback
from typing import TYPE_CHECKING, Final

from hush.errors import ExecutorError, WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("ENDED", "LOST", "RETURNED", "answer", "reference_of", "value_of")

RETURNED: Final = b"r"
"""First byte of an answer that holds what the function returned."""
RAISED: Final = b"x"
"""Of one that says why it could not be called, or what it raised: a text."""
ENDED: Final = b"e"
"""Of one that says that it asked for the worker's end."""
LOST: Final = b"l"
"""Of one that says why it was not called: somebody else may have done so before."""

_resolved: dict[str, Callable[[bytes], bytes]] = {}


def reference_of(function: Callable[[bytes], bytes]) -> str:
    """Return the name under which a worker imports a function.

    Args:
        function: a module's function.

    Returns:
        ``module:qualified.name``.

    Raises:
        ExecutorError: no other process could import it.
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    found: object = sys.modules.get(module or "")
    try:
        found = operator.attrgetter(name or "")(found)
    except AttributeError:
        found = None
    if found is not function or module == "__main__":
        raise ExecutorError(
            f"a worker cannot import {function!r}, which was to be called there; it takes a "
            "function at the top of a module that is no script"
        )
    return f"{module}:{name}"


def answer(reference: str, payload: bytes) -> bytes:
    """Call a function in this process; nothing but the end of the process interrupts it.

    Args:
        reference: from :func:`reference_of`.
        payload: what the function gets.

    Returns:
        One byte that says what happened, and what was returned or a text.
    """
    try:
        function = _resolved.get(reference)
        if function is None:
            function = _resolved[reference] = _imported(reference)
        result = function(payload)
        if not isinstance(result, bytes):
            raise TypeError(f"it returned {type(result).__name__}, not bytes")  # noqa: TRY301
    except SystemExit as error:
        return ENDED + f"SystemExit({error.code!r})".encode("utf-8", "backslashreplace")
    except BaseException as error:  # noqa: BLE001  # raised again where it was called from
        return RAISED + _told(reference, error)
    return RETURNED + result


def value_of(given: bytes, where: str) -> bytes:
    """Return what a function returned in a worker.

    Args:
        given: from :func:`answer`.
        where: the worker, for people.

    Raises:
        WorkerLostError: the function asked for the worker's end.
        ExecutorError: it could not be called, or raised.
    """
    kind = given[:1]
    if kind == RETURNED:
        return given[1:]
    text = given[1:].decode("utf-8", "replace")
    if kind == ENDED:
        raise WorkerLostError(f"{where} was told to end by what ran in it: {text}")
    if kind == LOST:
        raise WorkerLostError(f"{where}: {text}")
    if kind == RAISED:
        raise ExecutorError(f"{where}: {text}")
    raise ExecutorError(f"{where} answered something else than was asked: {given[:40]!r}")


def _imported(reference: str) -> Callable[[bytes], bytes]:
    module, _, name = reference.partition(":")
    function: Callable[[bytes], bytes] = operator.attrgetter(name)(importlib.import_module(module))
    return function


def _told(reference: str, error: BaseException) -> bytes:
    # Everything of it may be the user's own: its text, its frames, its cause.
    try:
        what = "".join(traceback.format_exception_only(error)).strip()
        frames = "".join(traceback.format_exception(error)).rstrip()
    except Exception:  # noqa: BLE001  # a broken __str__ must not hide the failure itself
        what = frames = f"{type(error).__name__} (it cannot be printed)"
    if reference not in _resolved:
        module = reference.partition(":")[0]
        said = (
            f"cannot load {reference}: {what}. A worker needs the same version of hush-runtime, "
            f"and {module} where Python looks for modules"
        )
    else:
        said = f"{reference} raised {what}"
    return f"{said}\nTraceback in the worker:\n{frames}".encode("utf-8", "backslashreplace")
