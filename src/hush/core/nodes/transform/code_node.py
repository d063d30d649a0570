"""CodeNode: a Python callable as a node."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from hush.errors import OutputError
from hush.model.contract import Direct, Flaw, Parameters, RunIn
from hush.model.node import Node
from hush.model.options import CodeOptions
from hush.model.policies import one_of
from hush.model.shown import shown
from hush.model.signature import (
    call_shape,
    declared_keys,
    is_async,
    is_generator,
    is_lambda,
)

if TYPE_CHECKING:
    from typing import Unpack

    from hush.model.contract import BodyOutputs, NodeContext
    from hush.model.options import NodeOptions

__all__ = ("CodeNode", "CodeNodeFactory", "code_node")

P = ParamSpec("P")
R = TypeVar("R")

PLACES = ("loop", "thread", "process")
OPTIONS = CodeOptions.__required_keys__ | CodeOptions.__optional_keys__


class CodeNode(Node):
    """Calls a function with the node's inputs; what it returns are the outputs.

    A plain ``def`` runs in a worker thread, ``async def`` and lambdas run on the event
    loop; ``run_in`` says otherwise. When the run is cancelled, a coroutine is cancelled;
    a thread cannot be: it is awaited and its result discarded, unless
    ``abandon_on_cancel`` or a time limit lets it go; a process is killed.
    """

    kind = "code"

    def __init__(
        self,
        name: str | None = None,
        code_fn: Callable[..., Any] | None = None,
        *,
        return_keys: Iterable[str] | None = None,
        run_in: RunIn | None = None,
        abandon_on_cancel: bool = False,
        **options: Unpack[NodeOptions],
    ) -> None:
        """Wrap a callable.

        Args:
            name: unique within the graph; None takes the function's name.
            code_fn: sync or async callable that returns a mapping of outputs.
            return_keys: names of the outputs; None reads them from a TypedDict or
                dataclass return annotation, else from what is returned.
            run_in: ``loop``, ``thread`` or ``process``; None decides as above.
            abandon_on_cancel: whether a thread is left behind on cancellation.
            **options: as for every node.
        """
        self.code_fn = code_fn
        self.run_in = run_in
        self.abandon_on_cancel = abandon_on_cancel
        self._shape = call_shape(code_fn) if callable(code_fn) else None
        self._lambda = callable(code_fn) and is_lambda(code_fn)
        self._keys: frozenset[str] | None = None
        self._required: frozenset[str] | None = None
        self._code_flaws: list[Flaw] = list(self._take_keys(return_keys))
        super().__init__(name, **options)

    def _take_keys(self, return_keys: Iterable[str] | None) -> Iterable[Flaw]:
        if return_keys is None:
            declared = declared_keys(self.code_fn) if callable(self.code_fn) else None
            if declared is not None:
                self._keys, self._required = declared.names, declared.required
            return
        keys: list[Any] = []
        if isinstance(return_keys, str):
            keys = [return_keys]
        elif isinstance(return_keys, Iterable):
            keys = list(return_keys)
        if not keys or not all(isinstance(key, str) and key for key in keys):
            yield Flaw(
                "bad-output", f"return_keys={shown(return_keys)}", "Give a list of output names"
            )
            return
        self._single = keys[0] if len(keys) == 1 else None
        self._keys = frozenset(keys)

    _single: str | None = None

    def _default_name(self) -> str:
        function = self.code_fn
        while isinstance(function, functools.partial):
            function = function.func
        name = getattr(function, "__name__", "")
        return "" if name == "<lambda>" else name

    def flaws(self) -> Iterable[Flaw]:
        """Return what is wrong with the node, seen by itself."""
        yield from super().flaws()
        yield from self._code_flaws
        function = self.code_fn
        if not callable(function):
            yield Flaw("bad-function", f"code_fn is {type(function).__name__}", "Give a callable")
        elif is_generator(function):
            yield Flaw(
                "bad-function",
                "code_fn is a generator function",
                "Return a mapping; to iterate, put a MapNode over the generator",
            )
        if self.run_in is not None and not one_of(self.run_in, PLACES):
            yield Flaw(
                "bad-policy",
                f"run_in={shown(self.run_in)}",
                "Give 'loop', 'thread', 'process' or None",
            )
        elif self.run_in in ("thread", "process") and callable(function) and is_async(function):
            yield Flaw(
                "bad-policy",
                f"run_in={self.run_in!r} with an async function",
                "Give a plain def, or leave run_in out",
            )
        elif self.run_in == "process" and "<" in (
            name := str(getattr(function, "__qualname__", ""))
        ):
            yield Flaw(
                "bad-policy",
                f"run_in='process' with {name}, which a worker process cannot import",
                "Define the function at the top of a module",
            )

    def parameters(self) -> Parameters:
        """Return what the function takes."""
        return self._shape.parameters if self._shape is not None else Parameters(open=True)

    def output_names(self, body: BodyOutputs) -> frozenset[str] | None:
        """Return the declared outputs, None where the returned mapping tells."""
        del body
        return self._keys

    def required_outputs(self) -> frozenset[str] | None:
        """Return the declared outputs that must be there."""
        return self._required

    def direct(self) -> Direct | None:
        """Return the call of the function, where it is made on the event loop."""
        function, shape = self.code_fn, self._shape
        # What a subclass does besides is its own.
        own = type(self).execute is CodeNode.execute
        if function is None or shape is None or shape.positional or not own:
            return None
        if is_async(function):
            return Direct(function, awaited=True, outputs=self._outputs)
        on_loop = self._lambda if self.run_in is None else one_of(self.run_in, ("loop",))
        if on_loop:
            return Direct(function, awaited=False, outputs=self._outputs)
        return None

    async def execute(self, inputs: dict[str, Any], ctx: NodeContext) -> Mapping[str, Any]:
        """Call the function."""
        function, shape = self.code_fn, self._shape
        assert function is not None  # noqa: S101  # a node without one does not compile
        assert shape is not None  # noqa: S101  # likewise
        args, kwargs = shape.bind(inputs)
        if is_async(function):
            returned = await function(*args, **kwargs)
        else:
            returned = await ctx.call(
                function,
                args,
                kwargs,
                run_in=self.run_in or ("loop" if self._lambda else "thread"),
                abandon=self.abandon_on_cancel,
            )
        return self._outputs(returned, ctx)

    def _outputs(self, returned: Any, ctx: NodeContext) -> Mapping[str, Any]:
        if isinstance(returned, Mapping):
            return returned
        if dataclasses.is_dataclass(returned) and not isinstance(returned, type):
            names = {field.name for field in dataclasses.fields(returned)}
            if self._single is None or self._single in names:
                return {name: getattr(returned, name) for name in names}
        if self._single is not None:
            return {self._single: returned}
        wanted = (self._keys or frozenset()) | (ctx.reads - {"*"})
        if returned is None and not wanted:
            return {}
        listing = ", ".join(sorted(wanted)) or "name"
        shape = ", ".join(f"{name!r}: ..." for name in sorted(wanted)) or "'name': ..."
        raise OutputError(
            ctx.path,
            f"returned {type(returned).__name__}, expected a mapping of outputs ({listing}). "
            f"Return {{{shape}}}, or declare return_keys=['name'] for a single bare value",
        )


class CodeNodeFactory(Generic[P, R]):
    """What ``@code_node`` makes of a function: calling it makes a node.

    The function itself stays reachable as ``__wrapped__``.
    """

    __wrapped__: Callable[P, R]

    def __init__(self, function: Callable[P, R], options: CodeOptions) -> None:
        """Keep the function.

        Args:
            function: what the nodes will call.
            options: defaults for :class:`CodeNode`.
        """
        self._options = options
        functools.update_wrapper(self, function)

    def __call__(self, name: str | None = None, **options: Unpack[CodeOptions]) -> CodeNode:
        """Make a node in the graph that is being built.

        Args:
            name: unique within the graph; None takes the function's name.
            **options: as for :class:`CodeNode`.

        Returns:
            The node.
        """
        merged: CodeOptions = {**self._options, **options}
        return CodeNode(name, self.__wrapped__, **merged)

    def __repr__(self) -> str:
        """Return the function's name."""
        return f"code_node({getattr(self, '__name__', '?')})"


@overload
def code_node(function: Callable[P, R], /) -> CodeNodeFactory[P, R]: ...
@overload
def code_node(
    function: None = None, /, **options: Unpack[CodeOptions]
) -> Callable[[Callable[P, R]], CodeNodeFactory[P, R]]: ...
def code_node(function: Callable[..., Any] | None = None, /, **options: Unpack[CodeOptions]) -> Any:
    """Make a function into a factory of nodes named after it.

    Args:
        function: the function, when used without parentheses.
        **options: defaults for the nodes, as for :class:`CodeNode`.

    Returns:
        A factory: ``my_step(inputs={...}, outputs={...})`` makes a node.

    Raises:
        TypeError: an option is unknown; a name belongs into the call that makes a node.
    """
    _check_options(options)
    if function is not None:
        return CodeNodeFactory(function, options)
    return lambda wrapped: CodeNodeFactory(wrapped, options)


def _check_options(options: Mapping[str, object]) -> None:
    """Refuse what no node takes here and not where the first node is made, in another place."""
    if "name" in options:
        said = shown(options["name"])
        raise TypeError(
            f"@code_node(name={said}): a name is given where a node is made, as in "
            f"step(name={said}, inputs={{...}}); without one it has the function's"
        )
    for name in options:
        if name not in OPTIONS:
            raise TypeError(
                f"@code_node({name}=...): there is no such option; "
                f"it takes {', '.join(sorted(OPTIONS))}"
            )
