"""What the models of 12_multi_model.py say where none is set up: little, but to the point."""

import json
import re
from functools import partial
from typing import Any

import models

from hush.testing import Answer, ScriptedLLMServer

KNOWN = {
    "CSV": ("The module csv.", 0.95),
    "JSON": ("The module json.", 0.97),
    "sort": ("Perhaps the module sort.", 0.3),
    "server": ("The module socket.", 0.8),
    "copy": ("The module shutil.", 0.9),
}
MORE = {
    "CSV": "Use csv.reader, or csv.DictReader for rows by name.",
    "sort": "No: none is needed, the built-in sorted does it.",
    "server": "Better asyncio, whose timeout ends a wait that takes too long.",
    "copy": "Use shutil.copy.",
}


def script(server: ScriptedLLMServer, names: models.Models) -> None:
    """Tell the scripted server what to answer."""
    delays = {names.large: 0.45, names.small: 0.15, names.other: 0.3}
    for name, delay_s in delays.items():
        server.default(name, partial(reply, knows_more=name == names.large, delay_s=delay_s))


def reply(body: dict[str, Any], *, knows_more: bool, delay_s: float) -> Answer:
    """Answer what this program asks; the small ones know less."""
    asked = models.said_by(body, "user")
    if asked.startswith("Spell backwards: "):
        return Answer(asked.rpartition(" ")[2][::-1], delay_s=delay_s)
    if asked.startswith("Which of these"):
        answers = re.findall(r"^\d\. (.*)$", asked, re.MULTILINE)
        best = max(range(len(answers)), key=lambda at: len(answers[at]))
        verdict = {"best": best + 1, "reason": "it names the function, too"}
        return Answer(json.dumps(verdict), delay_s=delay_s)
    topic = re.search(r"CSV|JSON|sort|server|copy", asked)
    said, sure = KNOWN.get(topic[0] if topic else "", ("I do not know.", 0.1))
    if "confidence" in asked:
        return Answer(json.dumps({"answer": said, "confidence": sure}), delay_s=delay_s)
    if knows_more and topic:
        said = f"{said} {MORE.get(topic[0], '')}".strip()
    return Answer(said, delay_s=delay_s, chunk_delay_s=0.02)
