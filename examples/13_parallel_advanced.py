"""Fan-out, fan-in, a map under a limit and partial failure, on real files.

    make demo
    python examples/13_parallel_advanced.py FOLDER --concurrency 16 --backend trio

The input is the library of this Python, or a folder of your own. Every module is read, then
three analyses of it run side by side, then their results are merged; a map does that for
several modules at a time. Files that cannot be decoded or parsed are partial failures: they
do not stop the others, and they are red in the trace.

Where OTEL_EXPORTER_OTLP_ENDPOINT is set, the spans go there; else no network is used.
"""

import argparse
import ast
import importlib.util
import platform
import re
import sys
import sysconfig
import tempfile
import warnings
from collections import Counter
from pathlib import Path, PurePath
from typing import Any, NoReturn

import show

from hush.core import END, PARENT, START, Each, GraphNode, Hush, HushError, MapNode, code_node

# What makes code branch or repeat.
DECISIONS = (ast.If, ast.IfExp, ast.For, ast.While, ast.BoolOp, ast.Try, ast.comprehension)
# Words that say nothing of what a module is about.
DULL = "also been does each from have into more most only other same some such than that their"
DULL += " them then there these they this used using when where which will with your"
# Files of the standard library's test data, most of them broken on purpose.
BROKEN = ("tokenizedata/bad*.py", "lib2to3/tests/data/*.py", "test_lib2to3/data/*.py")


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
    words = re.findall(r"[a-z]{4,}", (ast.get_docstring(tree) or "").lower())
    return {"words": sorted(set(words) - set(DULL.split()))}


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
    return {
        "totals": {key: sum(module[key] for module in good) for key in keys},
        "succeeded": len(good),
        "failed": failed,
        "most_complex": sorted(good, key=lambda m: (-m["decisions"], m["name"]))[:5],
        "keywords": Counter(word for module in good for word in module["words"]).most_common(5),
    }


def describe(problem: Exception) -> str:
    """Say in one line what is wrong with a file, and where in it."""
    text = getattr(problem, "msg", "") or getattr(problem, "strerror", "") or str(problem)
    line = getattr(problem, "lineno", None)
    return f"line {line}: {text}" if line else text or type(problem).__name__


# --- the workflow -------------------------------------------------------------------------


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


# --- the input ----------------------------------------------------------------------------


def find_modules(folder: Path) -> dict[str, Path]:
    """Return the .py files below a folder by their names in it, but no installed packages."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") or part.endswith("-packages") for part in name.parts)
        if not hidden and path.is_file():
            found[name.as_posix()] = path
    return found


def is_broken(name: str) -> bool:
    """Say whether a file of the standard library is broken on purpose."""
    return any(PurePath(name).match(pattern) for pattern in BROKEN)


def choose(names: list[str], limit: int) -> list[str]:
    """Choose names evenly; those of broken test data go first, for up to a fifth."""
    broken = [name for name in names if is_broken(name)][: limit // 5]
    others = [name for name in names if name not in broken]
    room = min(limit - len(broken), len(others))
    return sorted(broken + [others[number * len(others) // room] for number in range(room)])


def add_broken(modules: dict[str, Path], folder: str) -> list[str]:
    """Write three broken files, add them and return their names."""
    broken = {
        "broken/bad_encoding.py": b"name = '\xff\xfe'\n",
        "broken/bad_syntax.py": b"def broken(:\n    pass\n",
        "broken/null_bytes.py": b"x = 1\ny = \0\n",
    }
    for name, raw in broken.items():
        modules[name] = Path(folder, PurePath(name).name)
        modules[name].write_bytes(raw)
    return list(broken)


# --- the program --------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def positive(text: str) -> int:
    """Read a number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text!r}")
    return int(text)


def main() -> None:
    """Run the workflow and show what came of it."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="default: this Python's own library")
    parser.add_argument("--limit", type=positive, default=400, metavar="N", help="files (400)")
    parser.add_argument("--concurrency", type=positive, default=8, metavar="N", help="at once (8)")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio")
    options = parser.parse_args()
    if options.backend == "trio" and importlib.util.find_spec("trio") is None:
        parser.error("trio is not installed: pip install trio")
    folder = options.folder or Path(sysconfig.get_path("stdlib"))
    if not folder.is_dir():
        parser.error(f"no such folder: {folder}")
    modules = find_modules(folder)
    if not modules:
        parser.error(f"no .py files in {folder}")
    names = choose(list(modules), options.limit)
    what = options.folder or f"The library of Python {platform.python_version()}"
    how = f"{options.concurrency} at a time on {options.backend}"
    show.say(f"{what}: {len(names):,} of {len(modules):,} modules, {how}", "bold")

    with tempfile.TemporaryDirectory() as extra:
        if options.folder is None and not any(map(is_broken, modules)):
            names += add_broken(modules, extra)
            show.say("It has no broken files; three were added from a temporary folder.")
        show.say("each: read >> [statistics, keywords, complexity] >> merge; then: report")
        tracing = show.Tracing()
        # What the compiler thinks of the modules' style is not asked here.
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        with show.Progress() as progress:
            result = Hush(build(options.concurrency)).run_sync(
                {"names": names, "paths": [str(modules[name]) for name in names]},
                backend=options.backend,
                on_event=progress,
            )
    show.report(result)
    show.failures(result["failed"])
    tracing.show(result.trace_id)


if __name__ == "__main__":
    code = 0
    try:
        main()
    except* KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except* HushError as group:
        print(f"error: {group.exceptions[0]}", file=sys.stderr)
        code = 1
    sys.exit(code)
