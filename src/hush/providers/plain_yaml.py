"""Plain YAML, read with care: what a configuration needs and nothing that could do harm.

PyYAML's safe loader with less in it. Refused: keys that are written twice, tags other than
those of plain data, text that is too deep or too large once its aliases are expanded. Dates
stay text, because ``2024-10-21`` is a version here. Messages are our own and show no value.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml  # type: ignore[import-untyped]  # PyYAML has no types of its own.

__all__ = ("DEPTH_LIMIT", "VALUES_LIMIT", "PlainYAMLError", "parse", "shown")

DEPTH_LIMIT: Final = 64
"""How deep values may be nested, aliases expanded."""

VALUES_LIMIT: Final = 50_000
"""Most values, each counted as often as aliases repeat it."""

DIGITS_LIMIT: Final = 64
"""Longest number; a longer one stays text."""

LONGEST: Final = 60
"""Most characters of one name in a message."""

TWICE_LISTED: Final = 20
"""Most keys written twice that one error tells of."""

_TAG: Final = "tag:yaml.org,2002:"
_TAGS: Final = ("null", "bool", "int", "float", "str", "seq", "map")

_CAUSES: Final = (
    ("'\\t'", "indented with a tab; use spaces"),
    ("mapping values are not allowed", "a second ': ' on the line; put the value in quotes"),
    ("could not find expected ':'", "a key without ': ' behind it; write key: value"),
    ("expected ',' or", "{ or [ is not closed; close it, and put ${...} between them in quotes"),
    ("<block end>", "its indentation does not fit the lines above; align it with its neighbours"),
    ("not allowed here", "text begins with - or ?; put the text in quotes"),
    ("escape", "a backslash in double quotes that means nothing; use single quotes"),
    ("quoted scalar", "a quotation mark is not closed; close it"),
    ("alias", "text begins with *, which refers to an anchor; put the text in quotes"),
    ("anchor", "text begins with &, which names an anchor; put the text in quotes"),
    ("tag", "text begins with !, which is a type's name; put the text in quotes"),
    ("constructor", "text begins with !, which is a type's name; put the text in quotes"),
    ("directive", "text begins with %, which is a directive; put the text in quotes"),
    ("cannot start any token", "text begins with a character of YAML's own; put it in quotes"),
    ("single document", "a second document begins; keep one, and remove the line ---"),
    ("unhashable", "a key is a list or a mapping; write text"),
    ("merging", "<< merges mappings only; correct what stands behind it"),
)
"""Part of PyYAML's message, and what we say; the first that fits. Its own may show values."""

_FLOAT: Final = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")


class PlainYAMLError(Exception):
    """A text is refused; ``problems`` says why."""

    def __init__(self, problems: tuple[tuple[str, str], ...], line: int | None = None) -> None:
        """Keep the problems.

        Args:
            problems: pairs of the dotted key, empty where the whole is meant, and what is
                wrong with it, remedy included.
            line: the line that is not YAML, from 0; None where the fault is another.
        """
        self.problems = problems
        self.line = line
        super().__init__(f"{len(problems)} problems")


def shown(name: object) -> str:
    """Return a name as it can be printed: on one line, not too long."""
    text = str(name).encode("utf-8", "replace").decode("utf-8")
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def parse(text: str) -> Any:
    """Read one YAML document.

    Args:
        text: the document.

    Returns:
        Plain data: mappings, lists, text, numbers, booleans, None. Parts that aliases repeat
        are the same objects. None for an empty document.

    Raises:
        PlainYAMLError: it is not plain YAML, or too large.
    """
    data: Any = None
    problems: tuple[tuple[str, str], ...]
    line = None
    try:
        loader = _Loader(text)
        data = loader.get_single_data()
        problems = tuple(loader.problems)
    except PlainYAMLError as refusal:
        problems = refusal.problems
    except yaml.reader.ReaderError as error:
        at = text.count("\n", 0, error.position) + 1
        problems = (("", f"line {at} holds a control character; remove it"),)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line if mark else None
        problems = (("", _cause(error, line)),)
    except (yaml.YAMLError, ValueError, LookupError, ArithmeticError):
        # PyYAML lets some of Python's own errors through, from escapes and directives.
        problems = (("", "is not valid YAML; look for unusual escapes and directives"),)
    if problems:
        raise PlainYAMLError(problems, line)
    return data


def _cause(error: Any, line: int | None) -> str:
    where = "the text" if line is None else f"line {line + 1}"
    said = f"{error.problem} {error.context}"
    cause = next((ours for theirs, ours in _CAUSES if theirs in said), "correct it there")
    return f"{where} is not valid YAML: {cause}"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # Untyped, see above.
    """Measures while composing, so that nothing large is ever built."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[tuple[str, str]] = []
        """Keys that are written twice."""
        self._path: list[object] = []
        self._count = 0
        self._measures: dict[int, tuple[int, int]] = {}
        """Size and depth of each node that is complete, by its id; they live as long as we."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node, measure it and look for keys that are written twice."""
        event = self.peek_event()
        self._count += 1
        self._path.append(index.value if isinstance(index, yaml.Node) else index)
        if len(self._path) > DEPTH_LIMIT:
            self._refuse(event, f"nested deeper than {DEPTH_LIMIT} levels; make it flatter")
        node = super().compose_node(parent, index)
        if not isinstance(event, yaml.AliasEvent):
            if isinstance(node, yaml.MappingNode):
                self._find_twice(node)
            self._measures[id(node)] = self._measured(event, node)
        elif id(node) not in self._measures:
            self._refuse(event, "an alias refers to what it is part of; remove it")
        self._path.pop()
        return node

    def _measured(self, event: Any, node: Any) -> tuple[int, int]:
        children: list[Any] = []
        if isinstance(node, yaml.MappingNode):
            children = [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        measures = [self._measures[id(one)] for one in children]
        size = 1 + sum(size for size, _ in measures)
        depth = 1 + max((depth for _, depth in measures), default=0)
        if max(size, self._count) > VALUES_LIMIT:
            self._refuse(event, f"more than {VALUES_LIMIT} values, aliases expanded; shorten it")
        if depth > DEPTH_LIMIT:
            text = f"nested deeper than {DEPTH_LIMIT} levels, aliases expanded; make it flatter"
            self._refuse(event, text)
        return size, depth

    def _find_twice(self, mapping: Any) -> None:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in mapping.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            name = (key.tag, key.value)
            if name in lines and len(self.problems) < TWICE_LISTED:
                text = f"written twice, on lines {lines[name]} and {line}; remove one of them"
                self.problems.append((self._place(key.value), text))
            lines[name] = line

    def _refuse(self, event: Any, text: str) -> None:
        where = f"line {event.start_mark.line + 1}"
        raise PlainYAMLError(((self._place(), f"{where}: {text}"),))

    def _place(self, *more: object) -> str:
        named = [shown(one) for one in (*self._path[:4], *more) if one is not None]
        return ".".join(named)


def _or_text(kind: str) -> Any:
    construct = yaml.SafeLoader.yaml_constructors[_TAG + kind]

    def constructed(loader: Any, node: Any) -> Any:
        # A number made to convert slowly, and what PyYAML takes for one and cannot convert.
        if len(node.value) > DIGITS_LIMIT:
            return node.value
        try:
            return construct(loader, node)
        except (ValueError, LookupError, ArithmeticError):
            return node.value

    return constructed


_Loader.yaml_constructors = {
    None: yaml.SafeLoader.yaml_constructors[None],
    **{_TAG + one: yaml.SafeLoader.yaml_constructors[_TAG + one] for one in _TAGS},
    **{_TAG + one: _or_text(one) for one in ("bool", "int", "float")},
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, rule) for tag, rule in rules if tag not in {f"{_TAG}timestamp", f"{_TAG}value"}]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# 1e6 is a number in YAML 1.2, and to everybody who writes it.
_Loader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789."))
