"""What the model of 11_agent_workflow.py says where none is set up.

It plans by what the tools have told it so far, so a different installation, or a tool that fails,
leads to a different conversation.
"""

import json
import re
from typing import Any

import models

from hush.testing import Answer, ScriptedLLMServer

DELAY_S = 0.25


def script(server: ScriptedLLMServer, names: models.Models) -> None:
    """Tell the scripted server what to answer."""
    for name in names.names:
        server.default(name, reply)


def reply(body: dict[str, Any]) -> Answer:
    """Answer, or ask for tools."""
    found = results(body["messages"])
    named = re.search(r"package (\w+)", models.said_by(body, "user"))
    package = named[1] if named else "json"
    listed = found.get("list_modules")
    if listed is None:
        # Nobody has said that there is a README; asking costs little.
        return ask(
            ("list_modules", {"package": package}),
            ("read_file", {"path": f"{package}/README.txt"}),
        )
    modules = listed[0]
    if isinstance(modules, str) or not modules:
        return Answer(f"I cannot tell: the library has no package {package}.", delay_s=DELAY_S)
    read = [one for one in found.get("read_file", ()) if isinstance(one, dict)]
    if not read:
        return ask(*(("read_file", {"path": module["path"], "lines": 1}) for module in modules))
    if "calculate" not in found:
        counts = " + ".join(str(one["lines"]) for one in read)
        return ask(("calculate", {"expression": f"({counts}) / {len(read)}"}))
    average = found["calculate"][-1]
    longest = max(read, key=lambda one: one["lines"])
    return Answer(
        f"The {len(read)} modules of the package {package} have {average:.0f} lines on average; "
        f"the longest is {longest['path']} with {longest['lines']:,} lines.",
        delay_s=DELAY_S,
        chunk_delay_s=0.01,
    )


def ask(*calls: tuple[str, dict[str, Any]]) -> Answer:
    """Ask for tools."""
    return Answer(
        tool_calls=[{"name": name, "arguments": arguments} for name, arguments in calls],
        delay_s=DELAY_S,
    )


def results(messages: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return what the tools have told, by their names; an error is a text."""
    names = {
        call["id"]: call["function"]["name"]
        for message in messages
        for call in message.get("tool_calls") or ()
    }
    found: dict[str, list[Any]] = {}
    for message in messages:
        if message["role"] == "tool":
            said = message["content"]
            value = said if said.startswith("error:") else json.loads(said)
            found.setdefault(names[message["tool_call_id"]], []).append(value)
    return found
