"""The tools of 11_agent_workflow.py: they read the library of this Python, and calculate."""

import ast
import operator
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()
MOST_LINES = 40
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
}


def list_modules(package: str) -> list[dict[str, Any]]:
    """List the modules of a package with their sizes."""
    folder = _inside(package.replace(".", "/"))
    if not folder.is_dir():
        raise FileNotFoundError(f"no package {package}")
    found = sorted(folder.glob("*.py"))
    return [
        {"path": path.relative_to(LIBRARY).as_posix(), "bytes": path.stat().st_size}
        for path in found
    ]


def read_file(path: str, lines: int = 3) -> dict[str, Any]:
    """Read the beginning of a text file, and count its lines."""
    text = _inside(path).read_text(encoding="utf-8").splitlines()
    return {"path": path, "lines": len(text), "begins": text[: min(lines, MOST_LINES)]}


def calculate(expression: str) -> float:
    """Calculate; numbers, brackets and + - * / // % only."""

    def value(part: ast.expr) -> float:
        if isinstance(part, ast.Constant) and type(part.value) in {int, float}:
            return part.value
        if isinstance(part, ast.BinOp) and type(part.op) in OPERATORS:
            return OPERATORS[type(part.op)](value(part.left), value(part.right))
        if isinstance(part, ast.UnaryOp) and type(part.op) in OPERATORS:
            return OPERATORS[type(part.op)](value(part.operand))
        raise ValueError(f"cannot calculate {ast.unparse(part)}")

    return value(ast.parse(expression[:1_000], mode="eval").body)


def _inside(path: str) -> Path:
    whole = (LIBRARY / path).resolve()
    if not whole.is_relative_to(LIBRARY):
        raise PermissionError(f"{path} is outside of the library")
    return whole


def _described(tool: Callable[..., Any], **parameters: tuple[str, str]) -> dict[str, Any]:
    """Describe a tool as the API wants it: type and meaning of each parameter."""
    properties = {
        name: {"type": kind, "description": meaning} for name, (kind, meaning) in parameters.items()
    }
    required = [name for name in parameters if name != "lines"]
    schema = {"type": "object", "properties": properties, "required": required}
    function = {"name": tool.__name__, "description": tool.__doc__, "parameters": schema}
    return {"type": "function", "function": function}


TOOLS: dict[str, Callable[..., Any]] = {
    tool.__name__: tool for tool in (list_modules, read_file, calculate)
}
DESCRIPTIONS = [
    _described(list_modules, package=("string", "such as email.mime")),
    _described(
        read_file,
        path=("string", "relative to the library, such as email/charset.py"),
        lines=("integer", f"how many, at most {MOST_LINES}"),
    ),
    _described(calculate, expression=("string", "such as (3 + 4) / 2")),
]
