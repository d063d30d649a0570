"""PromptNode in graphs: what is found when a graph is compiled, and what it gives."""

from __future__ import annotations

import pathlib
import threading

import pytest

from hush.core import (
    END,
    PARENT,
    START,
    CodeNode,
    Each,
    GraphError,
    GraphNode,
    Hush,
    InputError,
    MapNode,
    Retry,
    RunError,
)
from hush.errors import PromptError
from hush.providers import images
from hush.providers.images import data_url, image_part
from hush.providers.prompt_node import PromptNode, prompt_names

GIF = b"GIF89arest"
QUESTION = {"system": "Answer briefly.", "user": "{query}"}


def said(role, content):
    return {"role": role, "content": content}


def image(url, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


def single(inputs, **options):
    with GraphNode(name="g") as graph:
        node = PromptNode(name="p", inputs=inputs, outputs={"messages": PARENT}, **options)
        START >> node >> END
    return graph


async def filled(inputs, given=None):
    return (await Hush(single(inputs)).run(given or {}))["messages"]


def problems_of(inputs):
    with pytest.raises(GraphError) as caught:
        Hush(single(inputs))
    assert {problem.path for problem in caught.value.problems} == {"g.p"}
    return [(one.rule, one.message, one.remedy) for one in caught.value.problems]


async def refused(inputs, given=None):
    with pytest.raises(RunError) as caught:
        await filled(inputs, given)
    cause = caught.value.__cause__
    assert type(cause) is PromptError
    assert caught.value.path == cause.path == "g.p"
    return cause.message


# --- what it gives -----------------------------------------------------------------------------


async def test_the_prompt_of_the_reference_document():
    with GraphNode(name="parallel-llm") as graph:
        prompt = PromptNode(name="prompt", inputs={"prompt": QUESTION, "query": PARENT["query"]})
        model_a, model_b = (
            CodeNode(
                name=name,
                code_fn=lambda messages: {"content": messages[-1]["content"]},
                inputs={"messages": prompt["messages"]},
                outputs={"content": PARENT[f"answer_{name}"]},
            )
            for name in "ab"
        )
        START >> prompt >> [model_a, model_b]
        [model_a, model_b] >> END
    result = await Hush(graph).run({"query": "Why {this}?"})
    assert result["answer_a"] == result["answer_b"] == "Why {this}?"
    messages = [said("system", "Answer briefly."), said("user", "Why {this}?")]
    assert result.state["parallel-llm.prompt", "messages"] == messages


@pytest.mark.parametrize(
    "prompt",
    [
        "Về {x}",
        {"user": "Về {x}"},
        {"user": "Về {x}", "system": "{{x}}"},
        [said("system", '{"a": {x}}'), said("user", [{"type": "text", "text": "Về {x}"}])],
    ],
)
async def test_all_forms_as_literal_and_as_reference(prompt):
    literal = await filled({"prompt": prompt, "x": PARENT["x"]}, {"x": "phở {y}"})
    assert literal == await filled(
        {"prompt": PARENT, "x": PARENT}, {"prompt": prompt, "x": "phở {y}"}
    )
    last = literal[-1]["content"]
    assert (last if isinstance(last, str) else last[0]["text"]) == "Về phở {y}"


async def test_values_with_operations_and_of_any_type():
    inputs = {"prompt": "{a} {b} {c}", "a": PARENT["rows"][0], "b": [PARENT["n"], 2], "c": None}
    given = {"rows": [{"tên": "é"}], "n": 1}
    assert await filled(inputs, given) == [said("user", '{"tên": "é"} [1, 2] None')]


async def test_variables_that_are_given_by_edges():
    with GraphNode(name="g") as graph:
        source = CodeNode(name="s", code_fn=lambda: {"x": "X", "y": "Y"}, return_keys=["x", "y"])
        node = PromptNode(name="p", inputs={"prompt": "{x} {y}", "x": source})
        source["y"] >> node["y"]
        node["messages"] >> PARENT["messages"]
        START >> source >> node >> END
    assert (await Hush(graph).run())["messages"] == [said("user", "X Y")]


async def test_everything_of_the_parent_may_be_a_variable():
    graph = single({"prompt": QUESTION, "*": PARENT})
    assert Hush(graph).plan.required == {"query"}
    assert Hush(graph).plan.optional == {"conversation_history"}
    assert (await Hush(graph).run({"query": "q"}))["messages"][1] == said("user", "q")
    past = [said("user", "{query}")]
    messages = (await Hush(graph).run({"query": "q", "conversation_history": past}))["messages"]
    assert messages == [said("system", "Answer briefly."), *past, said("user", "q")]
    with pytest.raises(InputError, match="query"):
        await Hush(graph).run({})


async def test_a_map_fills_one_prompt_for_each_item():
    with GraphNode(name="g") as graph:
        with MapNode(name="m", inputs={"x": Each(PARENT["xs"])}, outputs={"r": PARENT}) as mapped:
            node = PromptNode(
                name="p", inputs={"prompt": "<{x}>", "x": PARENT}, outputs={"messages": PARENT}
            )
            START >> node >> END
        START >> mapped >> END
    result = await Hush(graph).run({"xs": ["a", "b", "c"]})
    assert result["r"] == [[said("user", f"<{x}>")] for x in "abc"]


async def test_runs_share_no_messages():
    prompt = [said("user", [{"type": "text", "text": "a"}])]
    engine = Hush(single({"prompt": prompt}))
    first = (await engine.run())["messages"]
    first[0]["content"][0]["text"] = "b"
    first[0]["content"].append("c")
    first.append("d")
    assert (await engine.run())["messages"] == [said("user", [{"type": "text", "text": "a"}])]


# --- references inside a prompt ------------------------------------------------------------------


async def test_what_references_inside_a_prompt_give_is_a_value():
    inputs = {"prompt": {"system": PARENT["s"], "user": "{q}"}, "q": PARENT["q"], "key": "secret"}
    messages = await filled(inputs, {"s": "{key} {{q}} {unknown}", "q": "{key}"})
    assert messages == [said("system", "{key} {{q}} {unknown}"), said("user", "{key}")]
    assert all(type(message["content"]) is str for message in messages)


def test_the_names_of_a_prompt_leave_out_those_in_values():
    resolved = {"prompt": {"system": "{key}", "user": "{q}"}}
    assert prompt_names({"prompt": {"system": PARENT["s"], "user": "{q}"}}, resolved) == {"q"}
    assert prompt_names({"prompt": PARENT["template"]}, resolved) == {"key", "q"}
    assert prompt_names({}, resolved) == {"key", "q"}


async def test_references_to_parts_messages_and_urls():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{x}"}}
    given = {
        "message": {"role": "assistant", "content": "{x}", "tool_calls": [call]},
        "part": {"type": "text", "text": "{x}"},
        "url": "https://a/{x}",
        "role": "user",
    }
    prompt = [
        PARENT["message"],
        {
            "role": PARENT["role"],
            "content": (PARENT["part"], image(PARENT["url"]), {"type": "text", "text": "{x}"}),
        },
        {"role": "tool", "content": PARENT["url"] + "!", "tool_call_id": PARENT["role"]},
    ]
    text = [{"type": "text", "text": "{x}"}, {"type": "text", "text": "X"}]
    messages = await filled({"prompt": prompt, "x": "X"}, given)
    assert messages == [
        given["message"],
        said("user", [text[0], image("https://a/{x}"), text[1]]),
        {"role": "tool", "content": "https://a/{x}!", "tool_call_id": "user"},
    ]
    assert type(messages[0]["tool_calls"][0]["function"]["arguments"]) is str


async def test_references_to_whole_contents():
    parts = [{"type": "text", "text": "{x}"}, image(GIF)]
    messages = await filled({"prompt": {"user": PARENT["parts"]}}, {"parts": parts})
    assert messages == [said("user", [parts[0], image(data_url(GIF))])]


def test_the_text_around_references_is_checked_when_the_graph_is_compiled():
    assert problems_of({"prompt": {"system": PARENT["s"], "user": "{q}"}}) == [
        ("missing-input", "'p' needs the input 'q'", "Add inputs={'q': ...}")
    ]
    ((rule, message, _),) = problems_of({"prompt": {"system": PARENT["s"], "usr": "{q}"}})
    assert (rule, message) == ("bad-prompt", "the prompt has the key 'usr'")
    ((_, message, _),) = problems_of({"prompt": [PARENT["m"], {"role": PARENT["r"]}]})
    assert message == "message 1 of the prompt has no 'content'"


async def test_references_that_give_what_does_not_fit():
    message = await refused({"prompt": {"user": PARENT["q"]}}, {"q": 3})
    assert message.startswith("'user' of the prompt is int. Give a text or a list of parts")


# --- history -----------------------------------------------------------------------------------


async def test_history_goes_before_the_last_user_message():
    inputs = {"prompt": QUESTION, "query": "q", "conversation_history": PARENT["past"]}
    system, user = said("system", "Answer briefly."), said("user", "q")
    past = [said("user", "{query}"), said("assistant", "b")]
    assert await filled(inputs, {"past": past}) == [system, *past, user]
    for none in ({"past": None}, {"past": []}, {}):
        assert await filled(inputs, none) == [system, user]


async def test_bad_history_at_run_time():
    inputs = {"prompt": "q", "conversation_history": PARENT["past"]}
    assert await refused(inputs, {"past": ["hi"]}) == (
        "message 0 of conversation_history is str. "
        "Give messages such as {'role': 'user', 'content': '...'}"
    )


# --- images ------------------------------------------------------------------------------------


async def test_images(tmp_path, monkeypatch):
    threads = []
    real = images.source_url

    def noted(*args):
        threads.append(threading.current_thread())
        return real(*args)

    monkeypatch.setattr("hush.providers.prompts.source_url", noted)
    path = tmp_path / "a.gif"
    path.write_bytes(GIF)
    expected = [said("user", [image(data_url(GIF))])]
    assert await filled({"prompt": {"user": [image_part(path)]}}) == expected
    assert not threads
    for source in (path, GIF):
        literal = {"prompt": {"user": [image(source)]}}
        variable = {"prompt": {"user": [image("{photo}")]}, "photo": source}
        reference = {"prompt": {"user": [image(PARENT["photo"])]}}
        assert await filled(literal) == expected
        assert await filled(variable) == expected
        assert await filled(reference, {"photo": source}) == expected
    assert len(threads) == 6
    assert threading.current_thread() not in threads


async def test_text_is_never_the_path_of_a_file(tmp_path):
    path = tmp_path / "a.gif"
    path.write_bytes(GIF)
    inputs = {"prompt": {"user": [image("{photo}")]}, "photo": PARENT["photo"]}
    assert await filled(inputs, {"photo": str(path)}) == [said("user", [image(str(path))])]


async def test_an_image_that_is_not_there():
    inputs = {"prompt": {"user": [image("{photo}")]}, "photo": PARENT["path"].apply(pathlib.Path)}
    assert await refused(inputs, {"path": "/none/a.png"}) == (
        "an image of the prompt: there is no file '/none/a.png'. Mend the path"
    )


# --- what is found when the graph is compiled ------------------------------------------------------


def test_a_missing_variable():
    with pytest.raises(GraphError) as caught:
        Hush(single({"prompt": QUESTION, "quer": "x"}))
    assert str(caught.value) == (
        "graph 'g' has 1 problem:\n  - g.p: 'p' needs the input 'query'. Add inputs={'query': ...}. "
        "Did you mean 'quer'?"
    )
    prompt = [said("user", [{"type": "text", "text": "{b}"}, image("https://{a}/{{c}}")])]
    assert problems_of({"prompt": prompt}) == [
        ("missing-input", f"'p' needs the input {name!r}", f"Add inputs={{{name!r}: ...}}")
        for name in "ab"
    ]


def test_a_missing_prompt():
    expected = [("missing-input", "'p' needs the input 'prompt'", "Add inputs={'prompt': ...}")]
    assert problems_of({}) == expected
    assert problems_of({"query": "x"}) == expected


def test_bad_prompts_and_history():
    found = problems_of({"prompt": 3, "conversation_history": "x"})
    assert [(rule, message) for rule, message, _ in found] == [
        ("bad-prompt", "the prompt is int"),
        ("bad-prompt", "conversation_history is str"),
    ]
    assert all(remedy.startswith("Give a") for _, _, remedy in found)
    ((_, message, _),) = problems_of({"prompt": {"user": PARENT}})
    assert message == "'user' of the prompt is Parent"


@pytest.mark.parametrize(
    ("name", "what"),
    [("prompt", "the prompt itself"), ("conversation_history", "the conversation so far")],
)
async def test_placeholders_that_cannot_be_filled(name, what):
    message = (
        f"the placeholder {{{name}}} of the prompt cannot be filled: the input {name!r} is {what}"
    )
    remedy = "Give the value under another name"
    assert problems_of({"prompt": f"{{{name}}}"}) == [("bad-prompt", message, remedy)]
    assert await refused({"prompt": PARENT}, {"prompt": f"{{{name}}}"}) == f"{message}. {remedy}"


def test_an_each_belongs_to_a_map():
    found = problems_of({"prompt": Each(["a"])})
    assert [rule for rule, _, _ in found] == ["bad-source"]


def test_only_messages_can_be_read():
    with GraphNode(name="g") as graph:
        node = PromptNode(name="p", inputs={"prompt": "x"})
        node["message"] >> PARENT["m"]
        START >> node >> END
    with pytest.raises(GraphError, match=r"unknown output 'message' .* it declares: messages"):
        Hush(graph)


# --- what is found at run time -------------------------------------------------------------------


async def test_a_missing_variable_at_run_time():
    inputs = {"prompt": PARENT["template"], "quer": PARENT["quer"], "other": 1}
    assert await refused(inputs, {"template": "{query}", "quer": "secret"}) == (
        "the variable 'query' of the prompt has no value; given: other, quer. "
        "Add inputs={'query': ...}, or write {{query}} where {query} is meant as it stands. "
        "Did you mean 'quer'?"
    )


async def test_a_bad_prompt_at_run_time():
    assert await refused({"prompt": PARENT["template"]}, {"template": []}) == (
        "the prompt is an empty list. Give a text, a mapping with 'system' and 'user', or a list "
        "of messages such as {'role': 'user', 'content': '...'}"
    )


async def test_policies_are_those_of_every_node():
    graph = single(
        {"prompt": PARENT["template"]}, on_error="capture", retry=Retry(2, initial_s=0.001)
    )
    result = await Hush(graph).run({"template": "{x}"})
    assert result["messages"] is None
    error = result.state["g.p", "error"]
    assert error["type"] == "hush.errors.PromptError"
    assert "'x'" in error["message"]
