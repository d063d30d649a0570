"""What is to be run: found by module or file and name, and made into an engine.

The module is imported as Python would import it for a program of its own: a file's folder,
or the current one, comes first on the path, so that its neighbours are found, also by the
processes of nodes that run in some.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hush.cli.refusal import Refusal
from hush.core.engine import Hush
from hush.errors import HushError, text_of
from hush.model.graph import Graph

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ("blame", "load_engine")

_MOST_FRAMES = 20
_FORM = "expected module:graph or path/file.py:graph"


def load_engine(target: str) -> Hush:
    """Import a module and return the engine that a target means.

    Args:
        target: ``module:name`` or ``path/file.py:name``. The name, dots allowed, is that of a
            graph, an engine, or a function without arguments that returns one; it may be
            left out where the module holds one graph or engine only.

    Returns:
        The engine; a graph is compiled.

    Raises:
        Refusal: nothing of that kind is there, or it cannot be imported.
        GraphError: the graph has problems.
        ResourceError: a resource that it needs is missing or wrong.
    """
    where, name = _parted(target)
    module = _module(where)
    found = _attribute(module, where, name) if name else _only(module, where)
    return _engine(found, target)


def blame(error: BaseException, tracebacks: bool = False) -> str:  # noqa: FBT001, FBT002  # one switch
    """Say where in somebody's own code an error was raised.

    Args:
        error: has been raised.
        tracebacks: say it in full.

    Returns:
        The traceback; else ``file, line 3, in fetch``, the innermost line outside of Hush and
        Python; empty where there is none.
    """
    if tracebacks:
        return "".join(traceback.format_exception(error, limit=-_MOST_FRAMES)).rstrip()
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    inside = (str(Path(__file__).parents[1]), str(Path(os.__file__).parent), "<frozen ")
    frames = traceback.extract_tb(error.__traceback__)
    site = f"{os.sep}site-packages{os.sep}"
    own = [
        frame for frame in frames if site in frame.filename or not frame.filename.startswith(inside)
    ]
    mine = [frame for frame in own if site not in frame.filename] or own
    if not mine:
        return ""
    last = mine[-1]
    place = f"{_short(last.filename)}, line {last.lineno}"
    return place if last.name == "<module>" else f"{place}, in {last.name}"


def _short(filename: str) -> str:
    """Return a path from the current folder on, where it lies in there."""
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return filename


def _parted(target: str) -> tuple[str, str]:
    where, _, name = target.rpartition(":")
    # A drive's letter is no module: C:\flows.py
    if not where or (len(where) == 1 and name.startswith(("\\", "/"))):
        where, name = target, ""
    if not where.strip() or (name and not all(part.isidentifier() for part in name.split("."))):
        raise Refusal(f"{target!r}: {_FORM}")
    return where, name


# --- the module ------------------------------------------------------------------------------


def _module(where: str) -> ModuleType:
    path = Path(where)
    if path.suffix == ".py" or path.is_file():
        if not path.is_file():
            raise Refusal(f"there is no file {where}")
        return _imported(where, path.resolve())
    if any(sep in where for sep in ("/", "\\")):
        raise Refusal(f"there is no file {where}; {_FORM}")
    if not all(part.isidentifier() for part in where.split(".")):
        raise Refusal(f"{where!r} is no module; {_FORM}")
    return _imported(where, None)


def _imported(where: str, path: Path | None) -> ModuleType:
    _put_first(str(Path.cwd() if path is None else path.parent))
    try:
        return importlib.import_module(where) if path is None else _from_file(path)
    except ModuleNotFoundError as error:
        if path is None and error.name and f"{where}.".startswith(f"{error.name}."):
            raise Refusal(
                f"there is no module {error.name!r} in {Path.cwd()} or on Python's path; "
                "for a file write path/file.py:graph"
            ) from error
        raise _unusable(where, error) from error
    except SystemExit as error:
        raise Refusal(f"{where} ends the program while it is imported") from error
    except Exception as error:
        if isinstance(error, HushError):
            raise
        raise _unusable(where, error) from error


def _put_first(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _from_file(path: Path) -> ModuleType:
    name = path.stem
    # Its own name, by which other processes can import it, unless something else has that.
    if not name.isidentifier() or name in sys.modules or name in sys.stdlib_module_names:
        name = f"hush_target_{''.join(c if c.isalnum() else '_' for c in name)}"
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None:
        raise Refusal(f"{path} is no file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _unusable(what: str, error: BaseException) -> Refusal:
    said = f"{type(error).__name__}: {text_of(error)}"
    place = blame(error)
    return Refusal(f"{what} cannot be used: {said}" + (f"\nat {place}" if place else ""))


# --- what is in it ---------------------------------------------------------------------------


def _runnable(module: ModuleType) -> dict[str, Any]:
    """Return the engines and top graphs of a module by name."""
    held = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and isinstance(value, Hush | Graph)
    }
    inner = {
        id(node) for graph in held.values() if isinstance(graph, Graph) for node in graph.nodes
    }
    return {name: value for name, value in held.items() if id(value) not in inner}


def _attribute(module: ModuleType, where: str, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            known = ", ".join(_runnable(module)) or "no graph or engine of its own"
            raise Refusal(f"{where} has no {name!r}; it holds: {known}") from None
    return found


def _only(module: ModuleType, where: str) -> Any:
    found = _runnable(module)
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise Refusal(
            f"{where} holds no graph; name what builds one: {where}:function, or {where}:graph"
        )
    raise Refusal(
        f"{where} holds several graphs; name one: " + ", ".join(f"{where}:{n}" for n in found)
    )


def _engine(found: Any, target: str) -> Hush:
    if inspect.isroutine(found) or isinstance(found, type):
        found = _built(found, target)
    if isinstance(found, Hush):
        return found
    if isinstance(found, Graph):
        return Hush(found)
    if inspect.isawaitable(found):
        close = getattr(found, "close", None)
        if close is not None:
            close()
        raise Refusal(f"{target} is async; a plain function has to return the graph")
    raise Refusal(
        f"{target} is {_kind(found)}; expected a GraphNode, a Hush engine, or a function that "
        "returns one"
    )


def _kind(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def _built(function: Any, target: str) -> Any:
    try:
        needed = [
            parameter.name
            for parameter in inspect.signature(function).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
        ]
    except (TypeError, ValueError):
        needed = []
    if needed:
        raise Refusal(
            f"{target} takes {', '.join(needed)}; expected a function without arguments that "
            "returns a graph"
        )
    try:
        return function()
    except HushError:
        raise
    except Exception as error:
        raise _unusable(target, error) from error
