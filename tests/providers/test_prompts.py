"""Filling prompts: forms, braces, values, history, and what is refused."""

from __future__ import annotations

import copy
import enum
import json
import pathlib
import re
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush.errors import PromptError
from hush.providers.images import data_url
from hush.providers.prompts import Verbatim, fill_prompt, placeholders

GIF = b"GIF89arest"
MESSAGE = "{'role': 'user', 'content': '...'}"
FORMS = f"Give a text, a mapping with 'system' and 'user', or a list of messages such as {MESSAGE}"
MESSAGES = f"Give messages such as {MESSAGE}"
PARTS = (
    "Give a text or a list of parts such as {'type': 'text', 'text': '...'} "
    "or {'type': 'image_url', 'image_url': {'url': '...'}}"
)


def fill(prompt, history=None, **variables):
    return fill_prompt(prompt, variables, history, path="g.p")


def text(template, **variables):
    (message,) = fill(template, **variables)
    assert message.keys() == {"role", "content"}
    assert message["role"] == "user"
    assert type(message["content"]) is str
    return message["content"]


def refused(message, prompt, history=None, **variables):
    with pytest.raises(PromptError) as caught:
        fill(prompt, history, **variables)
    assert str(caught.value) == f"g.p: {message}"
    assert caught.value.path == "g.p"


def said(role, content):
    return {"role": role, "content": content}


def image(url, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


# --- forms -----------------------------------------------------------------------------------


def test_a_text_is_one_user_message():
    assert fill("Hello {name}", name="Ada") == [said("user", "Hello Ada")]
    assert fill("") == [said("user", "")]


def test_system_and_user():
    user, system = said("user", "b"), said("system", "a")
    assert fill({"user": "{y}", "system": "{x}"}, x="a", y="b") == [system, user]
    assert fill({"user": "b"}) == [user]
    assert fill({"system": "a"}) == [system]
    assert fill(types.MappingProxyType({"system": "a"})) == [system]


def test_parts():
    parts = [{"type": "text", "text": "{q}?", "cache": "{q}"}, image("https://a/{q}", detail="low")]
    filled = [{"type": "text", "text": "x?", "cache": "{q}"}, image("https://a/x", detail="low")]
    assert fill({"user": parts}, q="x") == [said("user", filled)]
    assert fill([said("user", tuple(parts))], q="x") == [said("user", filled)]


def test_parts_of_other_types_and_other_keys_pass_through():
    audio = {"type": "input_audio", "input_audio": {"data": "{x}", "format": "wav"}}
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": "{x}"}'}}
    prompt = [
        said("developer", "{y}"),
        said("user", [audio]),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "assistant", "content": None, "tool_calls": [call], "name": "{x}"},
        {"role": "tool", "tool_call_id": "{x}", "content": "{y}"},
        said("narrator", "{y}"),
    ]
    expected = copy.deepcopy(prompt)
    for message in (expected[0], expected[4], expected[5]):
        message["content"] = "z"
    assert fill(prompt, y="z") == expected
    assert fill(tuple(prompt), y="z") == expected
    assert placeholders(prompt) == {"y"}


def test_nothing_is_shared_with_what_was_given():
    prompt = [said("user", [{"type": "text", "text": "{q}"}, image("{q}", detail="low")])]
    history = [said("user", [{"type": "text", "text": "{q}"}]), said("assistant", "b")]
    variables = {"q": "https://a"}
    before = copy.deepcopy((prompt, history, variables))
    first = fill_prompt(prompt, variables, history, path="g.p")
    again = copy.deepcopy(first)
    for message in first:
        if isinstance(message["content"], list):
            for part in message["content"]:
                part.clear()
            message["content"].clear()
        message.clear()
    first.clear()
    assert (prompt, history, variables) == before
    assert fill_prompt(prompt, variables, history, path="g.p") == again


# --- braces ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{x}", "V"),
        ("{x}{x}", "VV"),
        ("a{x}b{_y1}c", "aVbWc"),
        ("{{x}}", "{x}"),
        ("{{{x}}}", "{V}"),
        ("{{{{x}}}}", "{{x}}"),
        ("{{{{{x}}}}}", "{{V}}"),
        ("{{x}", "{V"),
        ("{x}}", "V}"),
        ("{{x}}}", "{x}}"),
        ('{"a": {"b": {x}}}', '{"a": {"b": V}}'),
        ('{"a": 1, "b": []}', '{"a": 1, "b": []}'),
        ("{{}} {} } { {{ }}", "{{}} {} } { {{ }}"),
        ("{ x } {{ x }}", "{ x } {{ x }}"),
        ("{x.y} {x[0]} {x!r} {x:>3} {0} {1x} {x-y}", "{x.y} {x[0]} {x!r} {x:>3} {0} {1x} {x-y}"),
        ("{x\n}", "{x\n}"),
        ("{tên} {x²}", "{tên} {x²}"),
        ("$x %s %(x)s ${x}", "$x %s %(x)s $V"),
    ],
)
def test_braces(template, expected):
    assert text(template, x="V", _y1="W") == expected
    assert placeholders(template) <= {"x", "_y1"}


@pytest.mark.parametrize("template", ["{" * 10**6, "{" * 10**6 + "x", "{x" * 10**6, "}" * 10**6])
def test_a_text_of_braces_takes_no_longer_than_another(template):
    assert text(template) == template


def test_braces_in_values_are_left_alone():
    assert text("{a}{b}", a="{b} {{b}} {", b="b}") == "{b} {{b}} {b}"
    assert text("{a}", a={"{b}": "{{c}}"}) == '{"{b}": "{{c}}"}'
    assert text("{{a}", a="{a}") == "{{a}"


def test_text_that_came_as_a_value_is_not_filled():
    prompt = {"system": Verbatim("{a} {{b}}"), "user": [image(Verbatim("{a}"))]}
    filled = fill(prompt)
    assert filled == [said("system", "{a} {{b}}"), said("user", [image("{a}")])]
    assert type(filled[0]["content"]) is str
    assert type(filled[1]["content"][0]["image_url"]["url"]) is str
    assert placeholders(prompt) == set()


# --- values ----------------------------------------------------------------------------------


class Colour(str, enum.Enum):  # noqa: UP042  # the older kind, whose str() is not its value
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Xin chào 👋\n", "Xin chào 👋\n"),
        ("", ""),
        (Colour.RED, "red"),
        (3, "3"),
        (0.5, "0.5"),
        (True, "True"),
        (None, "None"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        ({"tên": ["é", None, True, 1.5]}, '{"tên": ["é", null, true, 1.5]}'),
        ([], "[]"),
        ((1, (2,)), "[1, [2]]"),
        (types.MappingProxyType({"a": types.MappingProxyType({"b": 1})}), '{"a": {"b": 1}}'),
        ({"at": pathlib.PurePosixPath("a/b")}, '{"at": "a/b"}'),
    ],
)
def test_how_values_are_written(value, expected):
    assert text("<{v}>", v=value) == f"<{expected}>"


class Broken:
    def __str__(self):
        raise RuntimeError("no text")


def test_values_that_cannot_be_written():
    circle = []
    circle.append(circle)
    for value, kind, why in [
        (Broken(), "Broken", "RuntimeError: no text"),
        ([Broken()], "list", "RuntimeError: no text"),
        (circle, "list", "ValueError: Circular reference detected"),
        (
            {(1, 2): 3},
            "dict",
            "TypeError: keys must be str, int, float, bool or None, not tuple",
        ),
    ]:
        message = f"the variable 'v', {kind}, cannot be written: {why}. Give it as a text"
        refused(message, "{v}", v=value)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("prompt", ["{v}", {"user": [image("https://a/{v}")]}])
def test_bytes_are_no_text(kind, prompt):
    refused(
        f"the variable 'v' is {kind.__name__}, which no text takes. Decode it, or let {{v}} be "
        f"the whole url of an image",
        prompt,
        v=kind(GIF),
    )


def test_variables_that_the_prompt_does_not_name():
    assert text("a", b=Broken(), c=b"") == "a"


def test_missing_variables():
    refused(
        "the variable 'query' of the prompt has no value; given: other, quer. Add "
        "inputs={'query': ...}, or write {{query}} where {query} is meant as it stands. "
        "Did you mean 'quer'?",
        {"system": "{other}", "user": "{query} {query}"},
        quer="secret",
        other=1,
    )
    refused(
        "the variables 'b', 'a' of the prompt have no value; given: nothing. Add "
        "inputs={'b': ..., 'a': ...}, or write {{b}} where {b} is meant as it stands.",
        [said("user", [{"type": "text", "text": "{b}"}, image("{a}")])],
    )


# --- images ----------------------------------------------------------------------------------


def test_images_as_variables(tmp_path):
    path = tmp_path / "a.gif"
    path.write_bytes(GIF)
    for value in (GIF, bytearray(GIF), path):
        prompt = {"user": [image("{photo}", detail="high")]}
        assert fill(prompt, photo=value) == [said("user", [image(data_url(GIF), detail="high")])]
    assert fill({"user": [image("{photo}")]}, photo="a.gif") == [said("user", [image("a.gif")])]


def test_images_in_the_prompt_itself(tmp_path):
    path = tmp_path / "a.gif"
    path.write_bytes(GIF)
    expected = [said("user", [image(data_url(GIF))])]
    for url in (GIF, path, data_url(GIF)):
        assert fill({"user": [image(url)]}) == expected
        assert fill({"user": [{"type": "image_url", "image_url": url}]}) == expected


def test_images_that_cannot_be_read():
    prompt = {"user": [image("{photo}")]}
    refused(
        "an image of the prompt: there is no file '/none/a.png'. Mend the path",
        prompt,
        photo=pathlib.Path("/none/a.png"),
    )
    refused("an image of the prompt: it is empty. Give the bytes of an image", prompt, photo=b"")


# --- history ---------------------------------------------------------------------------------

PAST = [said("user", "{before}"), {"role": "assistant", "content": None, "tool_calls": []}]


@pytest.mark.parametrize("past", [PAST, tuple(PAST)])
def test_history_goes_before_the_last_user_message(past):
    system, user, answer = said("system", "s"), said("user", "u"), said("assistant", "a")
    assert fill("u", past) == [*PAST, user]
    assert fill({"system": "s", "user": "u"}, past) == [system, *PAST, user]
    assert fill([system, user, answer], past) == [system, *PAST, user, answer]
    assert fill([user, answer, user], past) == [user, answer, *PAST, user]
    assert fill({"system": "s"}, past) == [system, *PAST]
    assert fill([answer], past) == [answer, *PAST]


@pytest.mark.parametrize("past", [None, [], ()])
def test_no_history(past):
    assert fill("u", past) == [said("user", "u")]


@pytest.mark.parametrize(
    ("past", "message"),
    [
        ("hi", f"conversation_history is str. Give a list of messages such as {MESSAGE}, or None"),
        (
            said("user", "x"),
            f"conversation_history is dict. Give a list of messages such as {MESSAGE}, or None",
        ),
        ([said("user", "x"), 3], f"message 1 of conversation_history is int. {MESSAGES}"),
        ([{"content": "x"}], f"message 0 of conversation_history has no 'role'. {MESSAGES}"),
        ([{"role": 3}], f"the role of message 0 of conversation_history is int. {MESSAGES}"),
    ],
)
def test_bad_history(past, message):
    refused(message, "u", past)


# --- bad forms -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (3, f"the prompt is int. {FORMS}"),
        (None, f"the prompt is None. {FORMS}"),
        (b"x", f"the prompt is bytes. {FORMS}"),
        ([], f"the prompt is an empty list. {FORMS}"),
        ({}, f"the prompt is an empty mapping. {FORMS}"),
        ({"system": "x", "usr": "y"}, f"the prompt has the key 'usr'. {FORMS}"),
        ({3: "x"}, f"the prompt has the key 3. {FORMS}"),
        (
            said("user", "x"),
            f"the prompt is one message, with 'role'. Put it into a list: [{MESSAGE}]",
        ),
        ({"user": 3}, f"'user' of the prompt is int. {PARTS}"),
        ({"system": None}, f"'system' of the prompt is None. {PARTS}"),
        ({"user": []}, f"'user' of the prompt is an empty list. {PARTS}"),
        ({"user": ["x"]}, f"part 0 of 'user' of the prompt is str. {PARTS}"),
        ({"user": [{}]}, f"part 0 of 'user' of the prompt has no 'type'. {PARTS}"),
        (
            {"user": [{"type": 3}]},
            f"part 0 of 'user' of the prompt has a 'type' that is int. {PARTS}",
        ),
        (
            {"user": [{"type": "text"}]},
            f"part 0 of 'user' of the prompt has a 'text' that is None. {PARTS}",
        ),
        (
            {"user": [{"type": "text", "text": ""}, {"type": "image_url", "image_url": {}}]},
            f"part 1 of 'user' of the prompt has a 'url' that is None. {PARTS}",
        ),
        (["x"], f"message 0 of the prompt is str. {MESSAGES}"),
        ([said("user", "x"), {}], f"message 1 of the prompt has no 'role'. {MESSAGES}"),
        (
            [{"role": "", "content": ""}],
            f"the role of message 0 of the prompt is an empty str. {MESSAGES}",
        ),
        ([{"role": "user"}], f"message 0 of the prompt has no 'content'. {PARTS}"),
        ([said("user", 3)], f"the content of message 0 of the prompt is int. {PARTS}"),
        ([said("user", {})], f"the content of message 0 of the prompt is dict. {PARTS}"),
    ],
)
def test_bad_forms(prompt, message):
    refused(message, prompt)
    assert placeholders(prompt) == set()


# --- properties ------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "_c", "D9"])
SAFE = st.text(st.characters(exclude_characters="{}"))
PIECES = st.lists(SAFE | NAMES.map(lambda name: ("fill", name)))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=5,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.text("{}ab_c"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("{}ab"), inner),
    max_leaves=5,
)


def template_of(pieces):
    return "".join(one if isinstance(one, str) else f"{{{one[1]}}}" for one in pieces)


def shown(value):
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


@given(PIECES, st.fixed_dictionaries(dict.fromkeys(["a", "b", "_c", "D9"], JSON)))
def test_values_appear_verbatim(pieces, variables):
    before = copy.deepcopy(variables)
    expected = "".join(one if isinstance(one, str) else shown(variables[one[1]]) for one in pieces)
    assert text(template_of(pieces), **variables) == expected
    parts = [{"type": "text", "text": template_of(pieces)}]
    (message,) = fill({"user": parts}, **variables)
    assert message["content"][0]["text"] == expected
    assert variables == before
    assert parts == [{"type": "text", "text": template_of(pieces)}]


@given(PIECES, st.dictionaries(NAMES, VALUES), st.booleans())
def test_filling_raises_nothing_but_prompt_errors(pieces, variables, as_image):
    template = template_of(pieces)
    prompt = {"user": [image(template)]} if as_image else template
    before = repr(variables)
    named = {one[1] for one in pieces if not isinstance(one, str)}
    assert placeholders(prompt) == named
    try:
        fill(prompt, **variables)
    except PromptError as error:
        missing = named - variables.keys()
        assert missing or any(isinstance(variables[name], bytes) for name in named)
        assert all(repr(name) in str(error) for name in missing)
    else:
        assert named <= variables.keys()
    assert repr(variables) == before


@given(st.text("{}ab_ \n"))
def test_any_braces_are_filled_or_left(template):
    names = placeholders(template)
    filled = text(template, **{name: f"<{name}>" for name in names})
    assert all(f"<{name}>" in filled for name in names)
    if not names and "{{" not in template:
        assert filled == template


def doubled(found):
    depth = min(len(found[1]), len(found[3]))
    return "{" * depth + found[0] + "}" * depth


@given(st.text("{}ab_"))
def test_any_text_can_be_written_with_doubled_braces(wanted):
    assert text(re.sub(r"(\{+)([A-Za-z_]\w*)(\}+)", doubled, wanted)) == wanted


@given(
    st.recursive(
        st.none() | st.integers() | st.text("{}ab") | st.binary(max_size=3),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    ["role", "content", "system", "user", "type", "text", "image_url", "url", "x"]
                ),
                inner | st.sampled_from(["user", "text", "image_url"]),
            )
        ),
        max_leaves=12,
    ),
    st.none() | st.lists(st.dictionaries(st.sampled_from(["role", "content"]), st.text("ab"))),
)
def test_whatever_a_prompt_is(prompt, history):
    before = repr((prompt, history))
    try:
        messages = fill(prompt, history, a="1", b=2)
    except PromptError:
        pass
    else:
        assert all(isinstance(message["role"], str) for message in messages)
    assert repr((prompt, history)) == before
