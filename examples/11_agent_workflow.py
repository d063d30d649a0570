"""An agent: a model that uses tools, in parallel, until it can answer.

    python examples/11_agent_workflow.py
    python examples/11_agent_workflow.py "How long are the modules of the package email?"

A loop of three steps: the model answers or asks for tools; a map runs all that it asked for side
by side; the conversation gets longer by what was said and found out. The tools are real: they
read the library of this Python, and calculate. A tool that fails does not stop the others; the
model is told. Which model, examples/models.py says; without a key it is a scripted server.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import agent_script
import models
import options
import show
import tracing
from agent_tools import DESCRIPTIONS, TOOLS

from hush.core import END, PARENT, START, Each, GraphNode, Hush, MapNode, WhileLoopNode, code_node
from hush.insight.wording import format_duration
from hush.providers import LLMNode

QUESTION = "How many lines do the modules of Python's package json have on average?"
SYSTEM = (
    "You answer questions about the library of a Python installation. Use the tools, as many as "
    "you need at a time, and do not guess. Answer in one or two sentences."
)


@code_node
def use_tool(call: dict[str, Any]) -> dict[str, Any]:
    """Run a tool that the model asks for. What goes wrong, it shall know."""
    function = call["function"]
    result, error = None, None
    try:
        result = TOOLS[function["name"]](**json.loads(function["arguments"]))
    except KeyError:
        error = f"there is no tool {function['name']!r}"
    except Exception as problem:
        error = f"{type(problem).__name__}: {getattr(problem, 'strerror', None) or problem}"
    said = json.dumps(result) if error is None else f"error: {error}"
    message = {"role": "tool", "tool_call_id": call["id"], "content": said}
    return {"message": message, "error": error}


@code_node(run_in="loop")
def remember(
    messages: list[dict[str, Any]],
    rounds: list[dict[str, Any]],
    results: list[dict[str, Any]],
    **said: Any,
) -> dict[str, Any]:
    """Add a round to the conversation; the loop ends when no tool was asked for."""
    spoken = {"role": "assistant", "content": said["content"]}
    if said["tool_calls"]:
        spoken["tool_calls"] = said["tool_calls"]
    return {
        "messages": [*messages, spoken, *(result["message"] for result in results)],
        "rounds": [*rounds, {**said, "results": results}],
        "pending": len(said["tool_calls"]),
    }


def build(model: str, max_iterations: int) -> GraphNode:
    """Build the graph; nothing runs yet."""
    with GraphNode(name="agent") as graph:
        with WhileLoopNode(
            name="rounds",
            stop_condition="pending == 0",
            max_iterations=max_iterations,
            inputs={"messages": PARENT["messages"], "rounds": []},
            outputs={"rounds": PARENT, "exhausted": PARENT},
        ) as rounds:
            think = LLMNode(
                name="think",
                resource_key=model,
                stream=True,
                inputs={"messages": PARENT["messages"], "tools": DESCRIPTIONS, "temperature": 0},
            )
            with MapNode(
                name="tools",
                inputs={"call": Each(think["tool_calls"])},
                max_concurrency=8,
                key=lambda inputs: inputs["call"]["function"]["name"],
            ) as tools:
                used = use_tool(
                    inputs={"call": PARENT["call"]},
                    outputs={"message": PARENT, "error": PARENT},
                    timeout_s=10,
                )
                START >> used >> END
            remembered = remember(
                inputs={
                    "messages": PARENT["messages"],
                    "rounds": PARENT["rounds"],
                    "results": tools["results"],
                    **{name: think[name] for name in KEPT},
                },
                outputs={"messages": PARENT, "rounds": PARENT, "pending": PARENT},
            )
            START >> think >> tools >> remembered >> END
        START >> rounds >> END
    return graph


KEPT = ("content", "tool_calls", "model_used", "resource_used", "tokens_used", "cost_usd")


# --- the program --------------------------------------------------------------------------


def written(call: dict[str, Any]) -> str:
    """Write a call of a tool as Python would; models may send anything."""
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    with suppress(ValueError, AttributeError):
        arguments = ", ".join(map(repr, json.loads(arguments).values()))
    return f"{name}({arguments})"


def tell(number: int, spoken: dict[str, Any], seconds: show.Seconds) -> Iterator[str]:
    """Yield what happened in a round, line by line."""
    path = f"agent.rounds[{number}]"
    into, out = show.counts(spoken["tokens_used"])
    took = format_duration(seconds[f"{path}.think"])
    cost = show.cost(spoken["cost_usd"])
    yield f"Round {number + 1}: {spoken['model_used']}, {into} tokens in, {out} out{cost}, {took}"
    each = []
    for at, (call, result) in enumerate(zip(spoken["tool_calls"], spoken["results"], strict=True)):
        each.append(seconds[f"{path}.tools[{at}].use_tool"])
        mark = "!" if result["error"] else " "
        said = result["message"]["content"]
        yield f"{mark} {format_duration(each[-1]):>8}  {written(call)} = {said}"
    if len(each) > 1:
        together = format_duration(seconds[f"{path}.tools"])
        yield f"  {len(each)} tools side by side: {together}, in all {format_duration(sum(each))}"


def main() -> None:
    """Ask the agent and show how it came to its answer."""
    parser = options.Parser(__doc__)
    parser.add_argument("question", nargs="?", default=QUESTION, help=QUESTION)
    parser.add_argument(
        "--max-iterations", type=options.positive, default=8, metavar="N", help="rounds (8)"
    )
    models.add_option(parser)
    given = parser.parse()
    traces = tracing.Tracing()
    show.say(given.question, "bold")
    messages = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": given.question},
    ]
    with models.choose(agent_script.script, given.models) as names:
        seconds = show.Seconds()
        engine = Hush(build(names.large, given.max_iterations), resources=names.resources)
        result = engine.run_sync({"messages": messages}, backend=given.backend, on_event=seconds)
    show.say()
    for number, spoken in enumerate(result["rounds"]):
        first, *others = tell(number, spoken, seconds)
        show.say(first, "bold")
        for line in others:
            show.say(line, one_line=True)
        if spoken["content"]:
            show.indented(spoken["content"], 2)
    if result["exhausted"]:
        show.say(f"No answer within {given.max_iterations} rounds.", "bold yellow")
    show.say()
    show.usage(result, len(result["rounds"]))
    traces.show(result.trace_id)
    traces.tell_where("python examples/11_agent_workflow.py")


if __name__ == "__main__":
    options.run(main)
