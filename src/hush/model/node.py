"""Node: one step of a workflow, as written by the user.

A node holds what it reads, what it gives and under which policies it runs. A kind of
node is a subclass with one ``async execute(inputs, ctx)``; this module knows neither
the kinds nor what will run them. Constructors record problems instead of raising, so
that a graph can report all of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from hush.model.contract import BodyOutputs, Flaw, OutputMap, Parameters
from hush.model.edge import Linkable, Parent, Soft, require_key, require_plain
from hush.model.join import First, Join, Quorum
from hush.model.policies import is_duration, one_of, policy_flaws
from hush.model.ref import Ref, as_ref, parts
from hush.model.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hush.model.contract import Direct, NodeContext
    from hush.model.each import Each
    from hush.model.graph import Graph
    from hush.model.retry import Retry

__all__ = ("Node", "is_duration", "policy_flaws")

FORBIDDEN_IN_NAMES = ".[]"
"""They separate the parts of a path."""


class Node(Linkable):
    """One step of a workflow.

    Subclasses set ``kind`` and implement :meth:`execute`; they may override
    :meth:`parameters`, :meth:`output_names`, :meth:`targets` and :meth:`flaws`.
    """

    kind: ClassVar[str] = "node"

    def __init__(
        self,
        name: str | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        join: Join | None = None,
        on_error: str = "raise",
        retry: Retry | None = None,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        idempotent: bool = True,
    ) -> None:
        """Record a node in the graph that is being built.

        Args:
            name: unique within its graph; no dots or brackets.
            inputs: input name to literal, reference, PARENT or node (meaning the
                value of the same name); ``{"*": PARENT}`` passes all that is taken.
            outputs: output name to PARENT, ``PARENT["name"]``, ``node["input"]`` or a
                list of such; ``{"*": PARENT}`` writes all outputs.
            join: Quorum or First; None waits as the edges say.
            on_error: ``raise`` fails the graph; ``capture`` gives the node an output
                ``error`` instead and lets the graph go on.
            retry: how failed attempts are made again; None makes one attempt.
            timeout_s: limit of one attempt in seconds; None has none.
            deadline_s: limit of all attempts and pauses together, in seconds.
            idempotent: whether doing its work twice for one item is as good as once. Where
                not, an item whose worker was lost is not tried again, and no other item
                shares its call.
        """
        from hush.model.graph import current_graph  # noqa: PLC0415  # a Graph is a Node

        given: object = name if name is not None else self._default_name()
        # A path is made of names, so a name is a string even where none was given.
        self.name = given if isinstance(given, str) else shown(given)
        self._named = isinstance(given, str)
        self.parent: Graph | None = current_graph()
        self.inputs: dict[str, Any] = {}
        self.star_inputs: list[Any] = []
        self.output_maps: list[OutputMap] = []
        self.star_output = False
        self.join = join
        self.on_error = on_error
        self.retry = retry
        self.timeout_s = timeout_s
        self.deadline_s = deadline_s
        self.idempotent = idempotent
        self._flaws: list[Flaw] = []
        self._take_inputs(inputs)
        self._take_outputs(outputs)
        if self.parent is not None:
            self.parent.add_node(self)

    # --- for kinds to implement --------------------------------------------------------

    async def execute(self, inputs: dict[str, Any], ctx: NodeContext) -> Mapping[str, Any]:
        """Do the node's work once.

        Args:
            inputs: resolved inputs by name; absent ones are left out.
            ctx: what the runtime offers.

        Returns:
            The outputs by name.
        """
        raise NotImplementedError  # abstract: a kind of node without a body is a mistake in this package

    def direct(self) -> Direct | None:
        """Return what :meth:`execute` comes to, where it is one call on the event loop.

        Returns:
            The call, which may then be made without going through ``execute``; None where
            the node does anything else.
        """
        return None

    def parameters(self) -> Parameters:
        """Return which inputs the node takes."""
        return Parameters(open=True)

    def output_names(self, body: BodyOutputs) -> frozenset[str] | None:
        """Return the names of the outputs, None where they are known at run time only.

        Args:
            body: what the node's body writes; empty where it has none.
        """
        del body
        return None

    def star_names(self, body: BodyOutputs) -> frozenset[str] | None:
        """Return the names that ``{"*": PARENT}`` writes, None where a run will tell.

        They may be fewer than the outputs that may be asked for.

        Args:
            body: what the node's body writes; empty where it has none.
        """
        return self.output_names(body)

    def own_outputs(self) -> Mapping[str, str]:
        """Return the outputs that its body must leave to the node, with what gives them."""
        return {"error": "on_error='capture'"} if self.captures else {}

    def required_outputs(self) -> frozenset[str] | None:
        """Return those of the declared outputs that must be there, None where all must."""
        return None

    def targets(self) -> tuple[Any, ...]:
        """Return the successors, as names or nodes, among which the node chooses."""
        return ()

    def resource_keys(self) -> tuple[str, ...]:
        """Return the names of the resources that the node uses."""
        return ()

    def each_inputs(self) -> Mapping[str, Each]:
        """Return the inputs that are iterated."""
        return {}

    def conditions(self) -> tuple[Any, ...]:
        """Return references that the node evaluates itself, when it wants to."""
        return ()

    def body_reads(self, body: BodyOutputs) -> frozenset[str]:
        """Return names that the node itself needs before its body has run once.

        Args:
            body: what the body writes.
        """
        del body
        return frozenset()

    def carries(self) -> bool:
        """Say whether the body runs in rounds that see what the round before wrote."""
        return False

    def flaws(self) -> Iterable[Flaw]:
        """Return what is wrong with the node, seen by itself."""
        yield from self._flaws
        yield from self._policy_flaws()

    def _default_name(self) -> str:
        return ""

    # --- references and edges ------------------------------------------------------------

    @property
    def ref_name(self) -> str:
        """The name that references show in messages."""
        return self.name

    def __getitem__(self, key: str) -> Ref:
        """Return a reference to one of the node's outputs."""
        return Ref(self, require_key(self.ref_name, key))

    def __iter__(self) -> NoReturn:
        msg = f"node {self.name!r} cannot be iterated; name the output: {self.name}['name']"
        raise TypeError(msg)

    def __contains__(self, item: object) -> NoReturn:
        msg = f"'in' cannot be recorded on node {self.name!r}; name the output in brackets"
        raise TypeError(msg)

    def __invert__(self) -> Soft:
        """Return ``~node``, the soft target."""
        return Soft(self)

    def connect(self, source: Ref, target: Ref) -> None:
        """Record ``node["y"] >> PARENT["z"]`` or ``node["y"] >> consumer["x"]``.

        Args:
            source: a reference to this node's output, with operations.
            target: a plain reference to PARENT or to a node's input.

        Raises:
            TypeError: the target has operations on it.
        """
        destination = require_plain(target)
        if isinstance(destination.owner, Parent):
            self.output_maps.append(OutputMap(source, destination.key))
        else:
            consumer: Node = destination.owner
            consumer.feed(destination.key, source)

    def feed(self, name: str, source: Any) -> None:
        """Record where an input comes from.

        Args:
            name: the input.
            source: a literal or a reference.
        """
        if name in self.inputs:
            self.add_flaw(
                "input-fed-twice",
                f"input {name!r} is fed twice",
                "Keep one of 'inputs=' and '>>' for it",
            )
        self.inputs[name] = source

    def add_flaw(self, rule: str, message: str, remedy: str) -> None:
        """Remember a problem until the graph is compiled."""
        self._flaws.append(Flaw(rule, message, remedy))

    # --- what the constructor was given -----------------------------------------------------

    def _take_inputs(self, inputs: Mapping[str, Any] | None) -> None:
        for name, value in self._entries(inputs, "inputs"):
            if name == "*":
                for owner in value if isinstance(value, (list, tuple)) else (value,):
                    if isinstance(owner, (Parent, Node)):
                        self.star_inputs.append(owner)
                    else:
                        self.add_flaw(
                            "bad-input",
                            f"inputs={{'*': {shown(owner)}}} names no source",
                            "Give PARENT or a node, or a list of such",
                        )
            elif isinstance(value, (Parent, Node)):
                self.feed(name, value[name])
            else:
                self.feed(name, value)

    def _take_outputs(self, outputs: Mapping[str, Any] | None) -> None:
        for name, value in self._entries(outputs, "outputs"):
            for one in value if isinstance(value, (list, tuple)) else (value,):
                self._take_output(name, one)

    def _take_output(self, name: str, target: Any) -> None:
        if name == "*":
            if isinstance(target, Parent):
                self.star_output = True
            else:
                self.add_flaw(
                    "bad-output",
                    f"outputs={{'*': {shown(target)}}} goes nowhere",
                    "Only PARENT takes all outputs",
                )
            return
        destination = as_ref(target, name)
        if destination is None or parts(destination).ops:
            self.add_flaw(
                "bad-output",
                f"output {name!r} is sent to {shown(target)}",
                "Give PARENT, PARENT['name'], node['input'] or a list of such",
            )
            return
        self.connect(self[name], destination)

    def _entries(self, mapping: Mapping[str, Any] | None, what: str) -> list[tuple[str, Any]]:
        if mapping is None:
            return []
        if not isinstance(mapping, Mapping):
            self.add_flaw(
                f"bad-{what[:-1]}",
                f"{what}= is {type(mapping).__name__}",
                f"Give a mapping from {what[:-1]} name to value",
            )
            return []
        entries = []
        for name, value in mapping.items():
            if isinstance(name, str) and name:
                entries.append((name, value))
            else:
                self.add_flaw(
                    f"bad-{what[:-1]}",
                    f"{what}= has the key {shown(name)}",
                    "Names are non-empty strings",
                )
        return entries

    def _policy_flaws(self) -> Iterable[Flaw]:
        name = self.name
        if not self._named or not name or any(c in name for c in FORBIDDEN_IN_NAMES):
            yield Flaw(
                "bad-name",
                f"{shown(name) if self._named else name} is no name for a node",
                "Give name= a non-empty string without dots and brackets",
            )
        yield from policy_flaws(self.retry, self.timeout_s, self.deadline_s)
        if not one_of(self.on_error, self._on_error_choices()):
            yield Flaw(
                "bad-policy",
                f"on_error={shown(self.on_error)}",
                f"Give one of {', '.join(map(repr, self._on_error_choices()))}",
            )
        if not isinstance(self.idempotent, bool):
            yield Flaw("bad-policy", f"idempotent={shown(self.idempotent)}", "Give True or False")
        if self.join is not None and not isinstance(self.join, (Quorum, First)):
            yield Flaw("bad-join", f"join={shown(self.join)}", "Give Quorum(k), First() or None")

    def _on_error_choices(self) -> tuple[str, ...]:
        return ("raise", "capture")

    @property
    def captures(self) -> bool:
        """Whether a failure becomes the output ``error`` instead of failing the graph."""
        return one_of(self.on_error, ("capture",))

    def __repr__(self) -> str:
        """Return kind and name."""
        return f"{type(self).__name__}({self.name!r})"
