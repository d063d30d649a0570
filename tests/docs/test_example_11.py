"""examples/11_agent_workflow.py: a loop of a model that uses real tools."""

from __future__ import annotations

import json
import re
import sysconfig
from pathlib import Path

import pytest

from tests.docs.example_runs import SAID_OF_SCRIPTED, complaints, real_provider, run_example

NAME = "11_agent_workflow.py"
LIBRARY = Path(sysconfig.get_path("stdlib"))


def lines_of(package):
    """Count as the agent's tools do."""
    return {
        path.relative_to(LIBRARY).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in sorted((LIBRARY / package).glob("*.py"))
    }


def expected(package):
    lines = lines_of(package)
    longest = max(lines, key=lines.get)
    return (
        f"The {len(lines)} modules of the package {package} have "
        f"{sum(lines.values()) / len(lines):.0f} lines on average; the longest is {longest} with "
        f"{lines[longest]:,} lines."
    )


def words(out):
    return " ".join(out.split())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_agent_finds_out_and_answers(tmp_path, backend):
    done = run_example(NAME, "--backend", backend, cwd=tmp_path)
    out = done.stdout
    assert complaints(done) == ""
    assert SAID_OF_SCRIPTED in out
    assert expected("json") in words(out)
    assert re.findall(r"^Round (\d)", out, re.MULTILINE) == ["1", "2", "3", "4"]
    # The first round's file does not exist: a failure that the model is told of, no more.
    assert re.search(r"^! .*README\.txt'\) = error: FileNotFoundError", out, re.MULTILINE)
    assert f"{len(lines_of('json'))} tools side by side" in out
    numbers = " + ".join(map(str, lines_of("json").values()))
    assert f"calculate('({numbers})" in out
    assert "4 answers from 4 calls" in out
    assert ", 1 handled" in out
    assert re.search(r"loop rounds \d+→\d+ \$", out)
    assert out.count("iteration [") == 4
    assert re.search(r"(think|chat) gpt-4o \d+→\d+", out)


def test_conversation_depends_on_what_the_tools_say(tmp_path):
    other = run_example(NAME, "How long is the package wsgiref?", cwd=tmp_path).stdout
    assert expected("wsgiref") in words(other)
    none = run_example(NAME, "How long is the package nosuch?", cwd=tmp_path).stdout
    assert "the library has no package nosuch" in words(none)
    assert "Round 3" not in none


def test_limit_of_rounds(tmp_path):
    done = run_example(NAME, "--max-iterations", 2, cwd=tmp_path)
    assert "No answer within 2 rounds." in done.stdout
    assert "Round 3" not in done.stdout


def test_real_provider(tmp_path):
    with real_provider(tmp_path, "agent_script.py", "some-model") as (server, names, variables):
        done = run_example(NAME, "--models", names, cwd=tmp_path, **variables)
    out = done.stdout
    assert "scripted" not in out
    assert "my-resources.yaml: res-0" in words(out)
    assert expected("json") in words(out)
    assert "some-model" in out
    assert "sk-secret" not in out
    assert len(server.requests) == 4
    first = server.requests[0].body
    assert first["stream"] is True
    assert {tool["function"]["name"] for tool in first["tools"]} == {
        "list_modules",
        "read_file",
        "calculate",
    }
    # Each call is answered, in the API's shape, under its own id.
    last = server.requests[-1].body["messages"]
    asked = [call["id"] for message in last for call in message.get("tool_calls") or ()]
    assert [m["tool_call_id"] for m in last if m["role"] == "tool"] == asked
    assert len(set(asked)) == len(asked) == 2 + len(lines_of("json")) + 1
    listed = next(m for m in last if m["role"] == "tool")
    assert [one["path"] for one in json.loads(listed["content"])] == list(lines_of("json"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"path": "../../etc/passwd"}, "PermissionError"),
        ({"path": "json"}, "Error"),
        ({"wrong": 1}, "TypeError"),
        ("{not json", "JSONDecodeError"),
    ],
)
def test_tools_refuse(tmp_path, arguments, said):
    from hush.testing import Answer

    with real_provider(tmp_path, "agent_script.py", "m") as (server, names, variables):
        call = {"name": "read_file", "arguments": arguments}
        nobody = {"name": "delete_all", "arguments": {}}
        bomb = {"name": "calculate", "arguments": {"expression": "9**9**9"}}
        server.script("m", Answer(tool_calls=[call, nobody, bomb]), Answer("I give up."))
        out = run_example(NAME, "--models", names, cwd=tmp_path, **variables).stdout
        told = [m["content"] for m in server.requests[-1].body["messages"] if m["role"] == "tool"]
    assert said in told[0]
    assert told[1] == "error: there is no tool 'delete_all'"
    assert told[2].startswith("error: ValueError: cannot calculate")
    assert "I give up." in out
    assert "root:" not in out
