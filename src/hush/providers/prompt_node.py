"""PromptNode: variables into a prompt, a prompt into messages.

What every node that takes a prompt needs stands beside it, so that a node which also
calls a model treats prompts alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hush.errors import PromptError
from hush.model.contract import Flaw, Parameters
from hush.model.each import Each
from hush.model.node import Node
from hush.model.ref import Ref, references_in
from hush.providers.prompt_forms import IMAGES, FormError, check_history, check_prompt
from hush.providers.prompts import Verbatim, fill_prompt, placeholders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hush.model.contract import BodyOutputs, NodeContext

__all__ = (
    "HISTORY",
    "PROMPT",
    "PromptNode",
    "messages_of",
    "prompt_flaws",
    "prompt_names",
    "prompt_parameters",
)

PROMPT = "prompt"
"""Name of the input that is the prompt."""
HISTORY = "conversation_history"
"""Name of the input with what was said before."""
RESERVED = {PROMPT: "the prompt itself", HISTORY: "the conversation so far"}

FILLED = frozenset(("system", "user", "content", "text", "image_url", "url"))
"""Keys of messages and parts under which placeholders are looked for."""

STAND_IN_MESSAGE = {"role": "user", "content": ""}
STAND_IN_PART = {"type": "text", "text": ""}


class PromptNode(Node):
    """Fills the placeholders of its input ``prompt`` with its other inputs.

    The prompt is a text (one user message), a mapping with ``system`` and ``user``, or a
    list of messages; :func:`hush.providers.prompts.fill_prompt` says how it is filled. What
    a prompt that is written out needs is known when the graph is compiled: a variable
    without a value is a ``GraphError`` then. Where the whole prompt is a reference, it is
    a template that comes at run time; what references *inside* a prompt give are values,
    whose braces are left alone. Messages given as ``conversation_history`` go before the
    last user message. The output is ``messages``.
    """

    kind = "prompt"

    def parameters(self) -> Parameters:
        """Return what the prompt needs; any other variable is taken too."""
        return prompt_parameters(self.inputs)

    def output_names(self, body: BodyOutputs) -> frozenset[str] | None:
        """Return ``messages``."""
        del body
        return frozenset(("messages",))

    def flaws(self) -> Iterable[Flaw]:
        """Return what is wrong with the node, seen by itself."""
        yield from super().flaws()
        yield from prompt_flaws(self.inputs)

    async def execute(self, inputs: dict[str, Any], ctx: NodeContext) -> Mapping[str, Any]:
        """Fill the prompt."""
        variables = {name: value for name, value in inputs.items() if name not in RESERVED}
        return {"messages": await messages_of(self.inputs, inputs, variables, ctx)}


def prompt_parameters(written: Mapping[str, Any]) -> Parameters:
    """Return what a node takes whose input ``prompt`` is filled with its other inputs.

    Args:
        written: the node's inputs as they were written.

    Returns:
        The prompt and its placeholders as required, ``conversation_history`` as optional.
    """
    names = _placeholders(written) - RESERVED.keys()
    return Parameters(frozenset((PROMPT,)) | names, frozenset((HISTORY,)), open=True)


def prompt_flaws(written: Mapping[str, Any]) -> Iterable[Flaw]:
    """Check a prompt, and a conversation, that are written out.

    Args:
        written: the node's inputs as they were written.

    Yields:
        What is wrong with them.
    """
    checks: tuple[tuple[str, Callable[[Any], object]], ...] = (
        (PROMPT, check_prompt),
        (HISTORY, check_history),
    )
    for name, check in checks:
        value = written.get(name)
        if name not in written or isinstance(value, (Ref, Each)):
            continue
        try:
            check(_stand_in(value, ""))
        except FormError as error:
            yield Flaw("bad-prompt", error.message, error.remedy)
    for name in sorted(_placeholders(written) & RESERVED.keys()):
        yield Flaw("bad-prompt", *_reserved(name))


def prompt_names(written: Mapping[str, Any], inputs: Mapping[str, Any]) -> frozenset[str]:
    """Return the placeholders of a node's prompt, those in values left out.

    Args:
        written: the node's inputs as they were written.
        inputs: the same inputs, resolved.

    Returns:
        The names that the prompt wants filled.
    """
    return placeholders(_marked(written.get(PROMPT), inputs[PROMPT]))


async def messages_of(
    written: Mapping[str, Any],
    inputs: Mapping[str, Any],
    variables: Mapping[str, Any],
    ctx: NodeContext,
) -> list[dict[str, Any]]:
    """Fill a node's prompt.

    Args:
        written: the node's inputs as they were written.
        inputs: the same inputs, resolved.
        variables: those of them that the prompt may name.
        ctx: what the runtime offers; images are encoded in a thread of it.

    Returns:
        The messages.

    Raises:
        PromptError: the prompt cannot be filled.
    """
    prompt = _marked(written.get(PROMPT), inputs[PROMPT])
    named = prompt_names(written, inputs)
    for name in sorted(named & RESERVED.keys()):
        raise PromptError(ctx.path, ". ".join(_reserved(name)))
    history = inputs.get(HISTORY)
    used = [variables[name] for name in named if name in variables]
    if not _holds_image(prompt) and not _holds_image(used):
        return fill_prompt(prompt, variables, history, path=ctx.path)
    filled: list[dict[str, Any]] = await ctx.call(
        fill_prompt,
        (prompt, variables, history),
        {"path": ctx.path},
        run_in="thread",
        abandon=False,
    )
    return filled


def _placeholders(written: Mapping[str, Any]) -> frozenset[str]:
    return placeholders(_stand_in(written.get(PROMPT), ""))


def _reserved(name: str) -> tuple[str, str]:
    message = (
        f"the placeholder {{{name}}} of the prompt cannot be filled: the input {name!r} is "
        f"{RESERVED[name]}"
    )
    return message, "Give the value under another name"


def _holds_image(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_image, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_image, value))
    return isinstance(value, IMAGES)


# --- references inside a prompt ----------------------------------------------------------------


def _stand_in(written: Any, place: str) -> Any:
    """Put something that fits into the places of references, so that the rest can be checked."""
    if isinstance(written, Ref):
        if not place.endswith("[]"):
            return Verbatim("-")
        return STAND_IN_MESSAGE if place == "[]" else STAND_IN_PART
    if type(written) is dict:
        return {key: _stand_in(one, str(key)) for key, one in written.items()}
    if type(written) in (list, tuple):
        return [_stand_in(one, f"{place}[]") for one in written]
    return written


def _marked(written: Any, value: Any) -> Any:
    """Mark what came by references inside a prompt: braces in values are no placeholders."""
    if isinstance(written, Ref) or not references_in(written):
        return value
    if type(written) is dict:
        return {
            key: _verbatim(value[key]) if isinstance(one, Ref) else _marked(one, value[key])
            for key, one in written.items()
        }
    return [
        _verbatim(item) if isinstance(one, Ref) else _marked(one, item)
        for one, item in zip(written, value, strict=True)
    ]


def _verbatim(value: Any) -> Any:
    if isinstance(value, str):
        return Verbatim(value)
    if isinstance(value, Mapping):
        return {key: _verbatim(one) if key in FILLED else one for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_verbatim(one) for one in value]
    return value
