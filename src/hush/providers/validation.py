"""Validation: an answer's content as an instance of the pydantic model that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hush.errors import LLMResponseError
from hush.providers.faults import scrubbed

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hush.providers.answer import ChatAnswer
    from hush.providers.resource import LLMResource

__all__ = ("validated",)

PROBLEMS = 3
"""Most problems that an error tells."""


def validated(
    answer: ChatAnswer, schema: type[BaseModel] | None, resource: LLMResource, path: str
) -> Any:
    """Return the content as an instance of a model.

    Args:
        answer: what came.
        schema: the model; None where none was asked for.
        resource: what was called.
        path: the node's path, for errors.

    Returns:
        The instance; for several choices a list of them; None without a model, and where
        the answer is a refusal or calls tools instead.

    Raises:
        LLMResponseError: the content does not fit.
    """
    if schema is None:
        return None
    instances = [_instance(choice, schema, resource, path) for choice in answer.choices]
    return instances[0] if len(instances) == 1 else instances


def _instance(
    choice: dict[str, Any], schema: type[BaseModel], resource: LLMResource, path: str
) -> BaseModel | None:
    from pydantic import ValidationError  # noqa: PLC0415  # only where a model was given

    message = choice["message"]
    content = message.get("content")
    if message.get("refusal") or (not content and message.get("tool_calls")):
        return None
    said = ""
    if isinstance(content, str):
        try:
            return schema.model_validate_json(content)
        except ValidationError as error:
            # Without the input: what a model said is private.
            problems = error.errors(include_input=False, include_url=False)
            told = (
                f"{'.'.join(map(str, one['loc'])) or 'content'}: {one['msg']}" for one in problems
            )
            said = "; ".join(list(told)[:PROBLEMS])
    else:
        said = "there is no content"
    reason = choice.get("finish_reason")
    remedy = "Raise max_tokens" if reason == "length" else "Retry it, or mend the prompt"
    raise LLMResponseError(
        path,
        f"what {resource.key} answered is no {schema.__name__} (finish_reason {reason}): "
        f"{scrubbed(said, resource)}. {remedy}",
        resource=resource.name,
        model=resource.model,
    )
