"""LLMChainNode: a prompt and the call to a model that it is for, in one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hush.providers.llm_node import OUTPUTS, LLMNode
from hush.providers.prompt_node import (
    HISTORY,
    PROMPT,
    messages_of,
    prompt_flaws,
    prompt_names,
    prompt_parameters,
)
from hush.providers.request import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hush.model.contract import BodyOutputs, Flaw, NodeContext, Parameters

__all__ = ("LLMChainNode",)


class LLMChainNode(LLMNode):
    """Fills a prompt and asks a language model.

    Inputs are those of a :class:`~hush.providers.PromptNode` (``prompt``,
    ``conversation_history`` and variables) and the parameters of an
    :class:`~hush.providers.LLMNode`. An input that the prompt names in braces is a variable,
    also where it is called like a parameter. Outputs are those of an LLMNode, and
    ``messages``.
    """

    kind = "llm"

    def parameters(self) -> Parameters:
        """Return what the prompt needs; any other variable is taken too."""
        return prompt_parameters(self.inputs)

    def output_names(self, body: BodyOutputs) -> frozenset[str] | None:
        """Return the names of the outputs."""
        del body
        return OUTPUTS | {"messages"}

    def flaws(self) -> Iterable[Flaw]:
        """Return what is wrong with the node, seen by itself."""
        yield from super().flaws()
        yield from prompt_flaws(self.inputs)

    async def execute(self, inputs: dict[str, Any], ctx: NodeContext) -> Mapping[str, Any]:
        """Fill the prompt and ask for an answer."""
        variables = {name: inputs[name] for name in inputs if name not in (PROMPT, HISTORY)}
        messages = await messages_of(self.inputs, inputs, variables, ctx)
        named = prompt_names(self.inputs, inputs)
        parameters = {
            name: inputs[name] for name in inputs if name in PARAMETERS and name not in named
        }
        outputs = await self.ask({"messages": messages, **parameters}, ctx)
        return {**outputs, "messages": messages}
