"""The documentation is true: its code runs, prints what it says, and names what exists.

Conventions of README.md and docs/**/*.md (docs/decisions is prose only):

- The ``python`` blocks of a page are one program, run from top to bottom in a process of
  its own, as somebody does who pastes them into a file. Nothing is sent anywhere
  (``OTEL_TRACES_EXPORTER=none``), and warnings are errors.
- A block below the line ``<!-- no-run: reason -->`` is only compiled. (A word behind
  ``python`` would do, but MkDocs then no longer sees a block of code.)
- A block that prints is followed by the line ``Output:`` and a ``text`` block with what it
  prints, where ``...`` stands for anything within a line. Below the line
  ``Output, for example:`` the text is not compared: it holds times or ids.
- A table below ``<!-- names: module -->``, ``<!-- attributes: module.Class -->``,
  ``<!-- arguments: module.callable -->``, ``<!-- values: module -->`` or
  ``<!-- rules: package -->`` lists in its first column names of that module, attributes of
  that class, arguments of that callable, texts that are constants of that module, or rules
  that the package checks graphs by. A column ``default`` shows arguments' defaults.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

import hush.core
import hush.executors
from hush import semconv

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in DOCS.rglob("*.md") if DOCS / "decisions" not in page.parents),
]
LINKED = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), ROOT / "deploy" / "README.md"]
TIMEOUT_S = 50
END_OF_BLOCK = "\x1e"


def name_of(page):
    return page.relative_to(ROOT).as_posix()


pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


@dataclasses.dataclass
class Block:
    """A fenced block of code."""

    language: str
    above: str
    """The last line above it that is not empty."""
    first: int
    """Number of its first line within the fence, from 0."""
    lines: list[str]

    @property
    def source(self):
        return "\n".join(self.lines)

    @property
    def runs(self):
        return self.language == "python" and not self.above.startswith("<!-- no-run: ")


def blocks_of(text):
    """Find the fenced blocks of a page."""
    found, above, current, indent = [], "", None, 0
    for number, line in enumerate(text.splitlines()):
        fence = re.match(r"( *)```([\w-]*)(.*)$", line)
        if current is not None:
            if fence and not fence[2]:
                found.append(current)
                current, above = None, "```"
            else:
                current.lines.append(line[indent:])
        elif fence:
            assert not fence[3], f"line {number + 1}: MkDocs takes no words behind the language"
            indent = len(fence[1])
            current = Block(fence[2], above, number + 1, [])
        elif line.strip():
            above = line.strip()
    assert current is None, "a block is not closed"
    return found


def prose_of(text):
    """Return a page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


# --- code ---------------------------------------------------------------------------------


def program_of(blocks):
    """Put the blocks of a page into one program whose line numbers are the page's."""
    lines = []
    for block in blocks:
        lines += [""] * (block.first - len(lines))
        lines += block.lines
        # Instead of the closing fence.
        lines.append(f"print({END_OF_BLOCK!r}, flush=True)")
    return "\n".join(lines)


def run(program, folder, name):
    script = folder / f"{name}.py"
    script.write_text(program, encoding="utf-8")
    variables = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    variables |= {"OTEL_TRACES_EXPORTER": "none", "PYTHONUTF8": "1", "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
        env=variables,
        timeout=TIMEOUT_S,
        check=False,
    )


def matches(expected, printed):
    """Compare texts line by line; ``...`` stands for anything within a line."""
    pattern = "\n".join(
        ".*".join(map(re.escape, line.rstrip().split("..."))) for line in expected.splitlines()
    )
    return re.fullmatch(pattern, "\n".join(line.rstrip() for line in printed.splitlines()))


@pages
def test_the_code_of_a_page_runs_and_prints_what_the_page_shows(page, tmp_path):
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    for block in blocks:
        if block.language == "python":
            compile("\n" * block.first + block.source, str(page), "exec")
    programs = [block for block in blocks if block.runs]
    if not programs:
        return
    done = run(program_of(programs), tmp_path, page.stem.replace("-", "_"))
    assert done.returncode == 0, f"{name_of(page)}:\n{done.stdout}\n{done.stderr}"
    printed = done.stdout.split(f"{END_OF_BLOCK}\n")
    assert len(printed) == len(programs) + 1
    shown = {
        id(block): following
        for block, following in pairwise(blocks)
        if following.above in {"Output:", "Output, for example:"}
    }
    for block, text in zip(programs, printed, strict=False):
        where = f"{name_of(page)}, line {block.first + 1}"
        output = shown.get(id(block))
        if output is None:
            assert not text, f"{where}: prints what the page does not show:\n{text}"
        else:
            assert text, f"{where}: prints nothing, the page shows an output"
            if output.above == "Output:":
                assert matches(output.source, text), f"{where}: prints\n{text}"


def test_outputs_are_compared():
    assert matches("a ... c\nd", "a b c\nd\n")
    assert not matches("a ... c", "a b\nc\n")
    assert not matches("a", "ab\n")


# --- links --------------------------------------------------------------------------------


def anchors_of(page):
    """Return the anchors of a page's headings, as MkDocs and GitHub make them."""
    headings = re.findall(
        r"^#+ +(.+?) *$", prose_of(page.read_text(encoding="utf-8")), re.MULTILINE
    )
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {re.sub(r"[ -]+", "-", heading).strip("-") for heading in plain}


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_somewhere(page):
    prose = prose_of(page.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r'(?:src|href)="([^"]+)"', prose)
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{name_of(page)}: {target} leads nowhere"
        if anchor:
            assert anchor in anchors_of(file), f"{name_of(page)}: no heading for {target}"


# --- names --------------------------------------------------------------------------------


def tables_of(page):
    """Yield the marked tables of a page: kind, object, and rows by column."""
    text = page.read_text(encoding="utf-8")
    for kind, where, table in re.findall(
        r"<!-- (names|attributes|arguments|values|rules): (\S+) -->\n+((?:\|.*\n)+)", text
    ):
        rows = [
            [cell.strip() for cell in line.strip("|").split(" | ")] for line in table.split("\n")
        ]
        head, _, *body = rows[:-1]
        yield kind, where, [dict(zip(head, row, strict=False)) for row in body]


def resolve(where):
    """Import what a dotted name means; an attribute goes before a module of the same name."""
    first, *names = where.split(".")
    target = importlib.import_module(first)
    for name in names:
        if not hasattr(target, name):
            importlib.import_module(f"{target.__name__}.{name}")
        target = getattr(target, name)
    return target


def attributes_of(cls):
    """Return what an instance has: methods, properties, fields, slots, annotations, documented."""
    names = set(dir(cls))
    for base in cls.__mro__:
        names |= set(base.__dict__.get("__slots__", ()))
        names |= set(inspect.get_annotations(base))
        if base.__module__.startswith("hush."):
            names |= set(re.findall(r"self\.([a-z]\w*)\b.*? = ", inspect.getsource(base)))
    return names


def arguments_of(function):
    """Return arguments and defaults, also those that go through ``**options`` to a base."""
    if not inspect.isclass(function):
        return {p.name: p.default for p in inspect.signature(function).parameters.values()}
    found = {}
    for base in function.__mro__:
        if "__init__" in base.__dict__ and base is not object:
            for parameter in inspect.signature(base.__init__).parameters.values():
                found.setdefault(parameter.name, parameter.default)
    return found


def rules_of(package):
    """Return the names of the rules that a graph is checked by."""
    sources = (
        path.read_text(encoding="utf-8") for path in Path(package.__file__).parent.rglob("*.py")
    )
    return {name for source in sources for name in re.findall(r'"([a-z]+(?:-[a-z]+)*)"', source)}


@pages
def test_names_in_tables_exist(page):
    for kind, where, rows in tables_of(page):
        target = resolve(where)
        known = {
            "names": dir,
            "attributes": attributes_of,
            "arguments": arguments_of,
            "values": lambda module: list(vars(module).values()),
            "rules": rules_of,
        }[kind](target)
        for row in rows:
            first = next(iter(row.values()))
            written = re.findall(r"`([^`]+)`", first)
            assert written, f"{name_of(page)}, {where}: no name in {first!r}"
            for text in written:
                name = text if kind in {"values", "rules"} else re.match(r"[\w.]*\w", text)[0]
                assert name in known, f"{name_of(page)}: {where} has no {name!r}"
                default = row.get("default", "").strip("`")
                if kind == "arguments" and default:
                    if known[name] is inspect.Parameter.empty:
                        assert default == "required", f"{name_of(page)}: {where}, {name}"
                    else:
                        value = getattr(known[name], "__name__", known[name])
                        assert str(value) == default.strip('"'), (
                            f"{name_of(page)}: {where}, {name} is by default {value}"
                        )


def code_in(page):
    return set(re.findall(r"`([^`\n]+)`", prose_of((DOCS / page).read_text(encoding="utf-8"))))


def test_every_public_name_is_in_the_reference():
    names = {re.match(r"[\w.]*", code)[0] for code in code_in("reference.md")}
    assert set(hush.core.__all__) - names == set()
    assert set(hush.executors.__all__) - names == set()


def test_every_emitted_name_is_in_the_pages_on_telemetry():
    emitted = {value for value in vars(semconv).values() if isinstance(value, str)}
    emitted = {value for value in emitted if "." in value and not value.startswith(("hush/", "/"))}
    emitted -= {semconv.__name__, semconv.__doc__, semconv.__file__}
    pages = ("tracing-in-jaeger.md", "metrics-and-logs.md", "export.md")
    told = set().union(*map(code_in, pages))
    assert emitted - told == set()
