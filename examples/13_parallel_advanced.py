"""Fan-out, fan-in, a map under a limit, partial failure and parallel models, on real files.

    make demo
    python examples/13_parallel_advanced.py FOLDER --concurrency 16 --backend trio

The input is the library of this Python, or a folder of your own. Every module is read, then
three analyses of it run side by side, then their results are merged; a map does that for
several modules at a time. Files that cannot be decoded or parsed are partial failures: they
do not stop the others, and they are red in the trace.

Then language models are asked about the modules with the most decisions: two models side by
side, and a batch over a map. Which models, examples/models.py says; without a key it is a
scripted server on loopback. Where OTEL_EXPORTER_OTLP_ENDPOINT is set, the spans go there.
"""

import ast
import platform
import re
import sysconfig
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import models
import options
import show
import tracing
from modules import add_broken, choose, find_modules, is_broken

from hush.core import END, PARENT, START, Each, GraphNode, Hush, MapNode, code_node
from hush.providers import LLMChainNode, LLMNode, PromptNode
from hush.testing import Answer, ErrorReply, ScriptedLLMServer

# What makes code branch or repeat.
DECISIONS = (ast.If, ast.IfExp, ast.For, ast.While, ast.BoolOp, ast.Try, ast.comprehension)
# Words that say nothing of what a module is about.
DULL = "also been does each from have into more most only other same some such than that their"
DULL += " them then there these they this used using when where which will with your"
MOST_SAID = 600  # characters of a module's documentation that a model is shown
MOST_ASKED = 12  # modules
MOST_WORDS = 40  # of a scripted answer
SMALL_PER_MINUTE = 300  # requests to the scripted small model, so that waiting can be seen
QUESTION = "What is the Python module {name} for? Its documentation:\n\n{said}"


# --- the nodes: plain functions, which run in threads -------------------------------------


@code_node
def read(name: str, path: str) -> dict[str, Any]:
    """Read a module and build its syntax tree. Only this step can fail, and it says so."""
    raw, tree, error = b"", ast.Module(body=[], type_ignores=[]), None
    try:
        raw = Path(path).read_bytes()
        tree = ast.parse(raw, filename=name)
    except Exception as problem:
        error = describe(problem)
    return {"raw": raw, "tree": tree, "error": error}


@code_node
def statistics(raw: bytes) -> dict[str, Any]:
    """Count lines."""
    lines = [line.strip() for line in raw.splitlines()]
    code = sum(bool(line) and not line.startswith(b"#") for line in lines)
    return {"lines": len(lines), "code": code}


@code_node
def keywords(tree: ast.Module) -> dict[str, Any]:
    """Find the words of the module's documentation."""
    said = ast.get_docstring(tree) or ""
    words = re.findall(r"[a-z]{4,}", said.lower())
    return {"words": sorted(set(words) - set(DULL.split())), "said": said[:MOST_SAID]}


@code_node
def complexity(tree: ast.Module) -> dict[str, Any]:
    """Count functions and decisions in the syntax tree."""
    kinds = Counter(type(part) for part in ast.walk(tree))
    return {
        "functions": kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef],
        "decisions": sum(kinds[kind] for kind in DECISIONS),
    }


@code_node
def merge(error: str | None, **facts: Any) -> dict[str, Any]:
    """Fan-in of one module. An output named "error" that is not None makes the item red."""
    if error is not None:
        return {"result": None, "error": error}
    return {"result": facts, "error": None}


@code_node
def report(names: list[str], results: list[dict[str, Any]]) -> dict[str, Any]:
    """Fan-in of all modules: split results from failures, add up, rank."""
    named = list(zip(names, results, strict=True))
    good = [{"name": name, **item["result"]} for name, item in named if item["error"] is None]
    failed = [(name, item["error"]) for name, item in named if item["error"] is not None]
    keys = ("lines", "code", "functions", "decisions")
    by_complexity = sorted(good, key=lambda m: (-m["decisions"], m["name"]))
    return {
        "totals": {key: sum(module[key] for module in good) for key in keys},
        "succeeded": len(good),
        "failed": failed,
        "most_complex": by_complexity[:5],
        "documented": [module for module in by_complexity if module["said"]][:MOST_ASKED],
        "keywords": Counter(word for module in good for word in module["words"]).most_common(5),
    }


def describe(problem: Exception) -> str:
    """Say in one line what is wrong with a file, and where in it."""
    text = getattr(problem, "msg", "") or getattr(problem, "strerror", "") or str(problem)
    line = getattr(problem, "lineno", None)
    return f"line {line}: {text}" if line else text or type(problem).__name__


# --- the first workflow: files ------------------------------------------------------------


def build(concurrency: int) -> GraphNode:
    """Build the graph; nothing runs yet."""
    with GraphNode(name="codebase") as graph:
        with MapNode(
            name="modules",
            inputs={"name": Each(PARENT["names"]), "path": Each(PARENT["paths"])},
            max_concurrency=concurrency,
            key=lambda inputs: inputs["name"],
        ) as modules:
            source = read(inputs={"name": PARENT["name"], "path": PARENT["path"]})
            size = statistics(inputs={"raw": source["raw"]})
            words = keywords(inputs={"tree": source["tree"]})
            logic = complexity(inputs={"tree": source["tree"]})
            merged = merge(
                inputs={
                    "error": source["error"],
                    "lines": size["lines"],
                    "code": size["code"],
                    "words": words["words"],
                    "said": words["said"],
                    "functions": logic["functions"],
                    "decisions": logic["decisions"],
                },
                outputs={"result": PARENT, "error": PARENT},
            )
            START >> source >> [size, words, logic] >> merged >> END  # fan-out, fan-in

        summary = report(
            inputs={"names": PARENT["names"], "results": modules["results"]},
            outputs={"*": PARENT},
        )
        START >> modules >> summary >> END
    return graph


# --- the second workflow: models ----------------------------------------------------------


def build_questions(large: str, small: str) -> GraphNode:
    """Build the graph: two models side by side, and beside them a batch for the small one."""
    with GraphNode(name="questions") as graph:
        prompt = PromptNode(
            name="prompt",
            inputs={
                "prompt": {"system": "Answer in one line.", "user": QUESTION},
                "name": PARENT["modules"][0]["name"],
                "said": PARENT["modules"][0]["said"],
            },
        )
        llm_a = LLMNode(
            name="llm_a",
            resource_key=large,
            inputs={"messages": prompt["messages"]},
            outputs={"content": PARENT["answer_a"]},
        )
        llm_b = LLMNode(
            name="llm_b",
            resource_key=small,
            inputs={"messages": prompt["messages"]},
            outputs={"content": PARENT["answer_b"]},
        )
        with MapNode(
            name="summaries",
            inputs={"module": Each(PARENT["modules"])},
            max_concurrency=4,
            key=lambda inputs: inputs["module"]["name"],
        ) as summaries:
            ask = LLMChainNode(
                name="ask",
                resource_key=small,
                inputs={
                    "prompt": {"system": "Summarise in one short line.", "user": QUESTION},
                    "name": PARENT["module"]["name"],
                    "said": PARENT["module"]["said"],
                },
                outputs={"content": PARENT["summary"]},
            )
            START >> ask >> END
        summaries["summary"] >> PARENT["summaries"]

        START >> prompt >> [llm_a, llm_b] >> END  # side by side
        START >> summaries >> END  # the batch
    return graph


def script(server: ScriptedLLMServer, names: models.Models) -> None:
    """Tell the scripted server what to answer: what the documentation says first."""

    def answer(body: dict[str, Any], sentences: int, delay_s: float) -> Answer:
        said = models.said_by(body, "user").partition("\n\n")[2]
        parts = [" ".join(part.split()) for part in re.split(r"(?<=[.!?])\s|\n\n", said)]
        words = " ".join(filter(None, parts[:sentences])).split()
        return Answer(" ".join(words[:MOST_WORDS]), delay_s=delay_s)

    server.default(names.large, models.Script(lambda body: answer(body, 2, 0.5)))
    errors = {4: ErrorReply(429, retry_after_s=0.3), 8: ErrorReply(500)}
    server.default(names.small, models.Script(lambda body: answer(body, 1, 0.15), errors))


# --- the program --------------------------------------------------------------------------


def main() -> None:
    """Run the workflows and show what came of them."""
    parser = options.Parser(__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="default: this Python's own library")
    parser.add_argument(
        "--limit", type=options.positive, default=400, metavar="N", help="files (400)"
    )
    parser.add_argument(
        "--concurrency", type=options.positive, default=8, metavar="N", help="at once (8)"
    )
    parser.add_argument("--no-models", action="store_true", help="the files only")
    models.add_option(parser)
    given = parser.parse()
    folder = given.folder or Path(sysconfig.get_path("stdlib"))
    if not folder.is_dir():
        parser.error(f"no such folder: {folder}")
    modules = find_modules(folder)
    if not modules:
        parser.error(f"no .py files in {folder}")
    names = choose(list(modules), given.limit)
    what = given.folder or f"The library of Python {platform.python_version()}"
    how = f"{given.concurrency} at a time on {given.backend}"
    show.say(f"{what}: {len(names):,} of {len(modules):,} modules, {how}", "bold")

    with tempfile.TemporaryDirectory() as extra:
        if given.folder is None and not any(map(is_broken, modules)):
            names += add_broken(modules, extra)
            show.say("It has no broken files; three were added from a temporary folder.")
        show.say("each: read >> [statistics, keywords, complexity] >> merge; then: report")
        traces = tracing.Tracing()
        # What the compiler thinks of the modules' style is not asked here.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        with show.Progress() as progress:
            result = Hush(build(given.concurrency)).run_sync(
                {"names": names, "paths": [str(modules[name]) for name in names]},
                backend=given.backend,
                on_event=progress,
            )
    show.report(result)
    show.failures(result["failed"])
    traces.show(result.trace_id)
    if result["documented"] and not given.no_models:
        traces.show(ask(result["documented"], given.backend, given.models))
    traces.tell_where("make demo")


def ask(modules: list[dict[str, Any]], backend: str, wanted: str | None) -> str | None:
    """Run the second workflow, show what came of it and return its trace's id."""
    show.title(f"Language models: two side by side, and {len(modules)} summaries, 4 at a time")
    with models.choose(script, wanted, small_per_minute=SMALL_PER_MINUTE) as names:
        engine = Hush(build_questions(names.large, names.small), resources=names.resources)
        seconds = show.Seconds()
        result = engine.run_sync({"modules": modules}, backend=backend, on_event=seconds)
    show.say(f"  two models on {modules[0]['name']}", "dim")
    for letter in "ab":
        path = f"questions.llm_{letter}"
        show.answer(show.row_of(result, path, seconds))
    show.say(f"  {names.small} on {len(modules)} modules", "dim")
    show.answers(
        {module["name"]: said for module, said in zip(modules, result["summaries"], strict=True)}
    )
    show.usage(result, 2 + len(modules))
    return result.trace_id


if __name__ == "__main__":
    options.run(main)
