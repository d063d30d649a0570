"""Several language models at once: comparing, routing by cost, balancing, fallback, a jury.

    python examples/12_multi_model.py
    python examples/12_multi_model.py "How do I copy a file?" --backend trio

Each of the five is a graph of its own inside one workflow, and all of them run side by side.
Which models, examples/models.py says; without a key it is a scripted server on loopback.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import models
import multi_model_script
import options
import show
import tracing
from pydantic import BaseModel

from hush.core import (
    END,
    PARENT,
    START,
    BranchNode,
    Each,
    GraphNode,
    Hush,
    MapNode,
    Retry,
    RunResult,
    code_node,
)
from hush.providers import LLMChainNode, LLMNode, PromptNode

QUESTION = "Which module of Python's library reads CSV files?"
QUESTIONS = (
    "Which module reads JSON?",
    "Which module would you take to talk to a server that may be slow, and why?",
    "Which module sorts a list?",
)
WORDS = ("spam", "eggs", "ham", "toast", "beans", "rice", "soup", "tea")
BRIEF = "Answer in one short sentence."
UNSURE = 0.7
DOWN = "down"
KEPT = ("content", "model_used", "resource_used", "tokens_used", "cost_usd")


class Guess(BaseModel):
    """What the small model answers when it is asked how sure it is."""

    answer: str
    confidence: float


class Verdict(BaseModel):
    """What the judge says."""

    best: int
    reason: str


# --- the graphs ---------------------------------------------------------------------------


def compare(names: models.Models) -> GraphNode:
    """One question, all models side by side, their answers in pieces."""
    with GraphNode(name="compare", inputs={"question": PARENT["question"]}) as graph:
        prompt = PromptNode(
            name="prompt",
            inputs={
                "prompt": {"system": BRIEF, "user": "{question}"},
                "question": PARENT["question"],
            },
        )
        asked = [
            LLMNode(
                name=role,
                resource_key=name,
                stream=True,
                inputs={"messages": prompt["messages"], "temperature": 0},
            )
            for role, name in roles(names).items()
        ]
        START >> prompt >> asked >> END
    return graph


def route(names: models.Models) -> GraphNode:
    """Cost routing: the small model first; the large one where that is not enough."""
    with GraphNode(name="route", inputs={"questions": PARENT["questions"]}) as graph:
        with MapNode(name="each", inputs={"question": Each(PARENT["questions"])}) as each:
            cheap = LLMChainNode(
                name="cheap",
                resource_key=names.small,
                inputs={
                    "prompt": "{question} Give your answer, and a confidence from 0 to 1, as JSON.",
                    "question": PARENT["question"],
                    "response_format": Guess,
                },
            )
            router = BranchNode(
                name="router",
                cases={"len(question) > 60": "dear", f"confidence < {UNSURE}": "dear"},
                default="enough",
                inputs={
                    "question": PARENT["question"],
                    "confidence": cheap["parsed"].confidence,
                },
            )
            dear = LLMChainNode(
                name="dear",
                resource_key=names.large,
                inputs={
                    "prompt": {"system": BRIEF, "user": "{question}"},
                    "question": PARENT["question"],
                },
                outputs={key: PARENT[key] for key in KEPT},
            )
            enough = keep(
                name="enough",
                inputs={"guess": cheap["parsed"], **{key: cheap[key] for key in KEPT[1:]}},
                outputs={key: PARENT[key] for key in KEPT},
            )
            START >> cheap >> router >> [dear, enough] >> END
        each["results"] >> PARENT["routed"]
        START >> each >> END
    return graph


@code_node
def keep(guess: Guess, **facts: Any) -> dict[str, Any]:
    """Take the small model's answer as it is."""
    return {"content": guess.answer, **facts}


def balance(names: models.Models) -> GraphNode:
    """Load balancing: of four calls, three go to the small model."""
    with GraphNode(name="balance") as graph:
        with MapNode(name="words", inputs={"word": Each(WORDS)}, max_concurrency=4) as words:
            spell = LLMChainNode(
                name="spell",
                resource_key=list(dict.fromkeys((names.small, names.other))),
                ratios=[3, 1] if names.small != names.other else None,
                balance_seed=3,
                inputs={"prompt": "Spell backwards: {word}", "word": PARENT["word"]},
                outputs={key: PARENT[key] for key in KEPT},
            )
            START >> spell >> END
        words["results"] >> PARENT["balanced"]
        START >> words >> END
    return graph


def fall_back(names: models.Models) -> GraphNode:
    """A resource that is down: nobody listens at its address."""
    with GraphNode(name="fall_back", inputs={"question": PARENT["question"]}) as graph:
        careful = LLMChainNode(
            name="careful",
            resource_key=DOWN,
            fallback=[names.small],
            retry=Retry(attempts=2, initial_s=0.1),
            inputs={
                "prompt": {"system": BRIEF, "user": "{question}"},
                "question": PARENT["question"],
            },
        )
        START >> careful >> END
    return graph


def ensemble(names: models.Models) -> GraphNode:
    """Three answers, of which a judge chooses the best."""
    with GraphNode(name="ensemble", inputs={"question": PARENT["question"]}) as graph:
        jury = [
            LLMChainNode(
                name=role,
                resource_key=name,
                inputs={
                    "prompt": {"system": BRIEF, "user": "{question}"},
                    "question": PARENT["question"],
                },
            )
            for role, name in roles(names).items()
        ]
        judge = LLMChainNode(
            name="judge",
            resource_key=names.large,
            inputs={
                "prompt": "Which of these is the best answer to: {question}\n"
                "1. {one}\n2. {two}\n3. {three}\n"
                "Give its number as best, and a short reason, as JSON.",
                "question": PARENT["question"],
                **{
                    number: asked["content"]
                    for number, asked in zip(("one", "two", "three"), jury, strict=True)
                },
                "response_format": Verdict,
            },
        )
        START >> jury >> judge >> END
    return graph


def roles(names: models.Models) -> dict[str, str]:
    """Return the models by what they are for."""
    return {"large": names.large, "small": names.small, "other": names.other}


def build(names: models.Models) -> GraphNode:
    """Build the workflow: all five side by side."""
    with GraphNode(name="multi_model") as graph:
        routed, balanced = route(names), balance(names)
        START >> [compare(names), routed, balanced, fall_back(names), ensemble(names)] >> END
        routed["routed"] >> PARENT["routed"]
        balanced["balanced"] >> PARENT["balanced"]
    return graph


# --- the program --------------------------------------------------------------------------


def rows(result: RunResult, seconds: show.Seconds) -> Iterator[show.Row]:
    """Yield the lines of the table."""
    for role in ("large", "small", "other"):
        yield show.row_of(result, f"multi_model.compare.{role}", seconds, case="compare")
    for at, facts in enumerate(result["routed"]):
        path = f"multi_model.route.each[{at}]"
        dear = seconds.get(f"{path}.dear")
        took = seconds[f"{path}.cheap"] if dear is None else dear
        content = f"{QUESTIONS[at]} {facts['content']}"
        case = "route" if dear is None else "route up"
        yield show.Row(case, **{**facts, "content": content}, seconds=took)
    yield show.row_of(result, "multi_model.fall_back.careful", seconds, case="fallback")
    for role in ("large", "small", "other"):
        yield show.row_of(result, f"multi_model.ensemble.{role}", seconds, case="jury")
    judge = "multi_model.ensemble.judge"
    verdict = result.state[judge, "parsed"]
    said = f"number {verdict.best}: {verdict.reason}"
    yield show.row_of(result, judge, seconds, case="judge", content=said)


def main() -> None:
    """Run the workflow and show what came of it."""
    parser = options.Parser(__doc__)
    parser.add_argument("question", nargs="?", default=QUESTION, help=QUESTION)
    models.add_option(parser)
    given = parser.parse()
    traces = tracing.Tracing()
    show.say(given.question, "bold")
    with models.choose(multi_model_script.script, given.models) as names:
        # Port 9 is nobody's: whoever calls there is refused at once.
        resources = names.plus(DOWN, base_url="http://127.0.0.1:9/v1")
        seconds = show.Seconds()
        result = Hush(build(names), resources=resources).run_sync(
            {"question": given.question, "questions": QUESTIONS},
            backend=given.backend,
            on_event=seconds,
        )
    show.table(list(rows(result, seconds)))
    shares = Counter(facts["resource_used"] for facts in result["balanced"])
    told = ", ".join(f"{name} {count}" for name, count in shares.most_common())
    show.say(f"balance: {len(WORDS)} calls, meant 3 to 1: {told}")
    for name, used in result.usage_by_model.items():
        show.say(f"{name}: {show.used(used)}")
    traces.show(result.trace_id)
    traces.tell_where("python examples/12_multi_model.py")


if __name__ == "__main__":
    options.run(main)
