"""Resource files: where they are found, what is refused and how that is said, what is filled in."""

from __future__ import annotations

import copy
import os
import pickle
import time
import traceback

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hush.errors import ResourceError
from hush.providers.hub import ResourceHub
from hush.providers.plain_yaml import DEPTH_LIMIT, VALUES_LIMIT
from hush.providers.request import PARAMETERS
from hush.providers.resource import LLMResource
from hush.providers.resource_entry import EXPECTED, build
from hush.providers.resource_files import BYTES_LIMIT, digest_of, find_file, load_file

SECRET = "sk-SECRETSECRETSECRET"
GOOD = f"llm:a:\n  api_key: {SECRET}\n  model: gpt-4o\n"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("HUSH_CONFIG", raising=False)
    for name in ("UNSET", "EMPTY", "TEXT", "NUMBER", "KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("TEXT", "SECRETTEXT")
    monkeypatch.setenv("NUMBER", "5")
    monkeypatch.setenv("KEY", SECRET)
    monkeypatch.chdir(tmp_path)


def write(folder, text, name="resources.yaml"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def one(**fields):
    """Return the resource ``a`` with these fields, from code."""
    fields = {"api_key": SECRET, "model": "gpt-4o", **fields}
    return ResourceHub.from_mapping({"llm:a": fields}).resolve(["a"])["a"]


def resolve(path):
    return ResourceHub.from_file(path).resolve(["a"], used_by={"a": "graph.ask"})


def fields(text):
    """Return a file whose resource ``a`` has a key and a model, and these lines."""
    return GOOD + "".join(f"  {line}\n" for line in text.splitlines())


AZURE = "api_type: azure\nbase_url: https://x.openai.azure.com\napi_version: 2024-10-21"

# The file, the key at fault, and what the error says of it: the fault and the remedy.
BROKEN = {
    "empty": ("", "", r"is empty; write at least\n\nllm:gpt-4o:\n  api_key: \$\{"),
    "only comments": ("# nothing\n", "", "is empty; write at least"),
    "a list": ("- llm:a\n", "", "expected resources by key, not a list; write such as"),
    "a word": ("hello\n", "", "expected resources by key, not a single value; write such"),
    "a tab": ("llm:a:\n\tapi_key: x\n", "", "line 2 .*indented with a tab; use spaces"),
    "bad indentation": (f"{GOOD}   params: {{}}\n", "", "line 4 .*; "),
    "two colons": (
        "llm:a:\n  model: a: b\n",
        "",
        "line 2 .*second ': '.*; put the value in quotes",
    ),
    "no colon": ("llm:a:\n  model gpt\n  api_key: x\n", "", r"line 3 .*; |line 2 .*; "),
    "an open quote": ("llm:a:\n  model: 'x\n", "", "quotation mark is not closed; close it"),
    "a strange escape": ('llm:a:\n  model: "\\q"\n', "", "line 2 .*; use single quotes"),
    "an open brace": ("llm:a: {model: x\n", "", "not closed; close it"),
    "a bare variable in braces": (
        "llm:a: {api_key: ${KEY}}\n",
        "",
        r"put \$\{...\} between them in quotes",
    ),
    "a python tag": ("llm:a: !!python/object:os.x {}\n", "", "line 1 .*; put the text in quotes"),
    "a binary tag": ("llm:a: !!binary aGk=\n", "", "line 1 .*; put the text in quotes"),
    "no such anchor": ("llm:a:\n  model: *x\n", "", "line 2 .*anchor; put the text in quotes"),
    "two documents": ("---\na: 1\n---\nb: 1\n", "", "line 3 .*keep one, and remove"),
    "a mapping as key": ("? [a]\n: b\n", "", "line 1 .*; write text"),
    "a control character": ("a: 1\nb: \x01\n", "", "line 2 holds a control character; remove it"),
    "not UTF-8": (b"a: 1\nb: \xff\n", "", "line 2 is not UTF-8; save the file as UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "", "line 1 is not UTF-8; save the file as UTF-8"),
    "a character beyond Unicode": ('a: "\\UFFFFFFFF"\n', "", "not valid YAML; look for"),
    "a directive of no number": (f"%YAML {'9' * 5000}.1\n---\na: 1\n", "", "not valid YAML; look"),
    "too large": (b"#" * (BYTES_LIMIT + 1), "", "larger than 1048576 bytes; correct the path"),
    "too many values": ("- a\n" * (VALUES_LIMIT + 1), None, "more than 50000 values.*; shorten it"),
    "too deep": (f"a: {'[' * 100}", None, "line 1: nested deeper than 64 levels; make it flatter"),
    "a bomb of aliases": (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)),
        "a4",
        "line 5: more than 50000 values, aliases expanded; shorten it",
    ),
    "a bomb of merges": (
        "a0: &a0 {x: 1, y: 2}\n"
        + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9)),
        "a4.<<",
        "line 5: more than 50000 values, aliases expanded; shorten it",
    ),
    "a chain of aliases": (
        "- &a0 [x]\n" + "".join(f"- &a{i} [*a{i - 1}]\n" for i in range(1, 5000)),
        None,
        "nested deeper than 64 levels, aliases expanded; make it flatter",
    ),
    "an endless alias": ("a: &a [*a]\n", "a.0", "line 1: .*what it is part of; remove it"),
    "a resource twice": (GOOD + GOOD, "llm:a", "written twice, on lines 1 and 4; remove one"),
    "a field twice": (
        fields(f"api_key: {SECRET}"),
        "llm:a.api_key",
        "written twice, on lines 2 and 4; remove one of them",
    ),
    "no such resource": ("llm:b: {}\n", "llm:a", "node 'graph.ask' uses.*llm:b.*Add llm:a, or"),
    "a slip in the prefix": (GOOD.replace("llm:", "lmm:"), "llm:a", "Did you mean 'lmm:a'?"),
    "a slip of case": (GOOD.replace("llm:a", "LLM:A"), "llm:a", "Did you mean 'LLM:A'?"),
    "no prefix": (GOOD.replace("llm:", ""), "llm:a", "a key 'a'; write it as llm:a:"),
    "nested below llm": ("llm:\n  a: {}\n", "llm:a", "below 'llm:'; write it as one top-level key"),
    "no fields": ("llm:a:\napi_key: x\n", "llm:a", "has no fields; write api_key and model below"),
    "a resource of text": ("llm:a: gpt\n", "llm:a", "mapping of fields, not text; write api_key"),
    "no key": (
        "llm:a:\n  model: x\n",
        "llm:a.api_key",
        r"missing; add api_key: \$\{OPENAI_API_KEY",
    ),
    "an empty key": (fields("").replace(SECRET, "''"), "llm:a.api_key", "is empty; write the key"),
    "a number as key": (
        fields("").replace(SECRET, "123456"),
        "llm:a.api_key",
        "expected the key as text, not a number; put it in quotes",
    ),
    "a line end in the key": (
        fields("").replace(SECRET, f'"{SECRET}\\n"'),
        "llm:a.api_key",
        "a line end .*; remove it",
    ),
    "no model": (
        "llm:a:\n  api_key: x\n",
        "llm:a.model",
        "missing; add model: and the model's name",
    ),
    "a number as model": (
        "llm:a: {api_key: x, model: 4.1}",
        "llm:a.model",
        "expected the model's name as text, not 4.1; put it in quotes",
    ),
    "a variable that is not set": (
        "llm:a:\n  api_key: ${UNSET}\n  model: x\n",
        "llm:a.api_key",
        "the environment variable UNSET is not set; set it$",
    ),
    "an empty variable": (
        fields("base_url: ${EMPTY}"),
        "llm:a.base_url",
        r"the environment variable EMPTY is empty; set it, or write \$\{EMPTY:-default\}",
    ),
    "an open variable": (fields("provider: a${KEY"), "llm:a.provider", r"without its \}; write"),
    "a nested variable": (fields("provider: '${A:-${B}}'"), "llm:a.provider", "without its }; "),
    "a variable without name": (
        fields("provider: ${KEY-x}"),
        "llm:a.provider",
        r"holds no variable's name; write \$\{NAME\} or \$\{NAME:-default\}",
    ),
    "a variable that is no number": (
        fields("max_concurrency: ${TEXT}"),
        "llm:a.max_concurrency",
        r"a whole number of at least 1, which \$\{TEXT\} does not hold; correct the variable",
    ),
    "an unknown field": (
        fields("modell: x"),
        "llm:a.modell",
        "unknown field. Did you mean 'model'?",
    ),
    "another tool's field": (fields("rpm: 5"), "llm:a.rpm", "Did you mean 'requests_per_minute'?"),
    "a field like no other": (fields("zzz: 5"), "llm:a.zzz", "Remove it; there are: api_key, "),
    "a field without name": (fields("7: 5"), "llm:a.7", "put it in quotes, or remove it"),
    "a parameter as field": (
        fields("temperature: 1"),
        "llm:a.temperature",
        "below params, move it",
    ),
    "the name as field": (fields("name: a"), "llm:a.name", "behind llm: in the key; remove it"),
    "no such api_type": (fields("api_type: azur"), "llm:a.api_type", "Did you mean 'azure'?"),
    "azure without address": (
        fields(AZURE.replace("base_url", "#")),
        "llm:a.base_url",
        "missing, which api_type azure needs; add base_url: https://NAME",
    ),
    "azure without version": (
        fields(AZURE.replace("api_version", "#")),
        "llm:a.api_version",
        "missing, which api_type azure needs; add api_version, such as 2024-10-21",
    ),
    "a version without azure": (
        fields("api_version: 2024-10-21"),
        "llm:a.api_version",
        "for api_type azure only; remove the line, or add api_type: azure",
    ),
    "no address": (
        fields("base_url: localhost:80"),
        "llm:a.base_url",
        "http or https and a host; ",
    ),
    "no host": (fields("base_url: 'http://'"), "llm:a.base_url", "and a host; correct it"),
    "no such port": (fields("base_url: http://a:99999"), "llm:a.base_url", "; correct it"),
    "a password in the address": (
        fields("base_url: http://u:SECRETSECRET@h/v1"),
        "llm:a.base_url",
        "without user and password; give them as headers",
    ),
    "a query in the address": (
        fields("base_url: http://h/v1?key=SECRETSECRET"),
        "llm:a.base_url",
        "without . and #; remove",
    ),
    "the whole path in the address": (
        fields("base_url: http://h/v1/chat/completions/"),
        "llm:a.base_url",
        "remove /chat/completions, the client adds it",
    ),
    "a negative time": (fields("timeout_s: -5"), "llm:a.timeout_s", "above 0, not -5; correct it"),
    "an infinite time": (fields("timeout_s: .inf"), "llm:a.timeout_s", "above 0, not inf; correct"),
    "a number in quotes": (
        fields("connect_timeout_s: '5'"),
        "llm:a.connect_timeout_s",
        "a number of seconds above 0, not text; write it without quotes",
    ),
    "no number at all": (
        fields("circuit_cooldown_s:"),
        "llm:a.circuit_cooldown_s",
        "not nothing; write one, or remove the line",
    ),
    "a truth as number": (
        fields("circuit_failures: true"),
        "llm:a.circuit_failures",
        "a whole number of at least 1, or null, not true; correct it",
    ),
    "half a call": (fields("max_concurrency: 1.5"), "llm:a.max_concurrency", "not 1.5; correct it"),
    "one price": (
        fields("input_usd_per_million: 1"),
        "llm:a.output_usd_per_million",
        "missing, although input_usd_per_million is given; add it, or remove the other price",
    ),
    "headers as text": (
        fields("headers: SECRETSECRET"),
        "llm:a.headers",
        "expected a mapping of header names to text, not text; correct it",
    ),
    "a number as header": (fields("headers: {A: 1}"), "llm:a.headers.A", "put the value in quotes"),
    "no header's name": (fields("headers: {'A B': x}"), "llm:a.headers", "use letters, digits and"),
    "two lines as header": (
        fields('headers: {A: "SECRETSECRET\\n"}'),
        "llm:a.headers",
        "the value of A is not one line .*; write it so",
    ),
    "a number with its unit": (
        fields("timeout_s: 60s"),
        "llm:a.timeout_s",
        "a number of seconds above 0, not text; write the number alone, without a unit",
    ),
    "a rate with its unit": (
        fields("requests_per_minute: 500/min"),
        "llm:a.requests_per_minute",
        "a number above 0, not text; write the number alone, without a unit",
    ),
    "a word for a number": (fields("timeout_s: long"), "llm:a.timeout_s", "not text; write one$"),
    "a key without braces": (
        GOOD.replace(SECRET, "$SECRETKEY"),
        "llm:a.api_key",
        r"a \$ without braces stands for no variable; write \$\{NAME\}",
    ),
    "a header without braces": (
        fields("headers: {X-A: $SECRETKEY}"),
        "llm:a.headers.X-A",
        r"without braces .*; write \$\{NAME\}",
    ),
    "a parameter without braces": (
        fields("params: {temperature: $TEXT}"),
        "llm:a.params.temperature",
        r"without braces .*; write \$\{NAME\}",
    ),
    "a blank in the key": (
        GOOD.replace("llm:", "llm: "),
        "",
        "line 1 is not valid YAML: .*written without a blank, such as llm:gpt-4o:$",
    ),
    "a blank in the key and no colon": (
        f"x: 1\n{GOOD}".replace("llm:a:", "llm: a"),
        "",
        "line 3 is not valid YAML: .*written without a blank, such as llm:gpt-4o:$",
    ),
    "a deployment's address": (
        fields(AZURE.replace("azure.com", "azure.com/openai/deployments/gpt-4o")),
        "llm:a.base_url",
        "takes the endpoint alone, and the client adds /openai; remove what begins there",
    ),
    "the address that Azure's portal shows": (
        fields(
            AZURE.replace(".com", ".com/openai/deployments/x/chat/completions?api-version=SECRET")
        ),
        "llm:a.base_url",
        "takes the endpoint alone, .*; remove what begins there",
    ),
    "the address of Azure's other interface": (
        fields(AZURE.replace("azure.com", "azure.com/openai/v1/")),
        "llm:a.base_url",
        "; remove what begins there, or use api_type openai for an address that ends in /openai/v1",
    ),
    "half of Azure's path": (
        fields(AZURE.replace("azure.com", "azure.com/openai/")),
        "llm:a.base_url",
        "the client adds /openai; remove what begins there",
    ),
    "the model as parameter": (
        fields("params: {model: x}"),
        "llm:a.params.model",
        "is no default parameter; use the resource's own field",
    ),
    "a slip in a parameter": (
        fields("params: {temprature: 1}"),
        "llm:a.params.temprature",
        "unknown parameter. Did you mean 'temperature'. .* below extra_body",
    ),
    "a server's own parameter": (
        fields("params: {zzz: 40}"),
        "llm:a.params.zzz",
        "unknown parameter. Put what only this server takes below extra_body",
    ),
    "two limits of the output": (
        fields("params: {max_tokens: 5, max_completion_tokens: 5}"),
        "llm:a.params.max_tokens",
        "given besides max_completion_tokens, .*; keep one of them",
    ),
    "an infinite parameter": (
        fields("params: {stop: [{x: .nan}]}"),
        "llm:a.params.stop",
        "holds a number that is not finite.*; change it",
    ),
    "a parameter whose variable is no number": (
        fields("params: {temperature: '${TEXT}'}"),
        "llm:a.params.temperature",
        r"a number, 0 or more, which \$\{TEXT\} does not hold; correct the variable",
    ),
    "a variable for all parameters": (
        fields("params: ${TEXT}"),
        "llm:a.params",
        r"names to values, which \$\{TEXT\} does not hold; correct the variable",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_says_what_is_wrong_where_and_what_to_do(case, tmp_path):
    text, key, said = BROKEN[case]
    path = write(tmp_path, text)
    started = time.monotonic()
    with pytest.raises(ResourceError, match=f"(?s){said}") as caught:
        resolve(path)
    assert caught.value.source == str(path)
    assert str(caught.value).startswith(str(path))
    assert len(caught.value.problems) == 1
    assert key is None or caught.value.keys == (key,)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__context__ is None
    assert time.monotonic() - started < 20


def test_there_are_more_than_twenty_of_them():
    assert len(BROKEN) > 20
    assert len({text for text, _, _ in BROKEN.values()}) == len(BROKEN)


def test_all_problems_of_all_resources_come_at_once(tmp_path):
    text = "llm:a:\n  api_key: ${UNSET}\n  modl: x\n  timeout_s: 0\n  input_usd_per_million: 1\n"
    text += "llm:b: 5\nllm:unused: {nonsense: [}]}\n".replace("[}]", "[]")
    hub = ResourceHub.from_file(write(tmp_path, text))
    with pytest.raises(ResourceError, match="has 7 problems") as caught:
        hub.resolve(["a", "b", "c"])
    assert set(caught.value.keys) == {
        "llm:a.api_key",
        "llm:a.modl",
        "llm:a.model",
        "llm:a.timeout_s",
        "llm:a.output_usd_per_million",
        "llm:b",
        "llm:c",
    }


def test_a_field_with_a_problem_gets_no_second_one(tmp_path):
    # What api_type the unset variable would give is not known.
    text = fields("api_type: ${UNSET}\napi_version: x\ninput_usd_per_million: ${UNSET}")
    with pytest.raises(ResourceError) as caught:
        resolve(write(tmp_path, text))
    assert caught.value.keys == ("llm:a.api_type", "llm:a.input_usd_per_million")


# Parameters that are wrong, and what is said of each.
WRONG_PARAMS = [
    ("temperature", "hot", "expected a number, 0 or more, not text; write one"),
    ("temperature", "0.5", "expected a number, 0 or more, not text; write it without quotes"),
    ("temperature", -1, "expected a number, 0 or more, not -1; correct it"),
    ("temperature", True, "expected a number, 0 or more, not true; correct it"),
    ("temperature", None, "expected a number, 0 or more, not nothing; write one, or remove the"),
    ("top_p", 1.5, "expected a number from 0 to 1, not 1.5; correct it"),
    ("frequency_penalty", "a", "expected a number, not text; write one"),
    ("presence_penalty", [1], "expected a number, not a list; correct it"),
    ("max_tokens", -5, "expected a whole number of at least 1, not -5; correct it"),
    ("max_tokens", "5 tokens", "not text; write the number alone, without a unit"),
    ("max_tokens", 1e3, "expected a whole number of at least 1, not 1000.0; correct it"),
    ("max_tokens", 10**5000, "expected a whole number of at least 1, not so large a number; "),
    ("max_completion_tokens", 0, "expected a whole number of at least 1, not 0; correct it"),
    ("n", 0, "expected a whole number of at least 1, not 0; correct it"),
    ("seed", 0.5, "expected a whole number, not 0.5; correct it"),
    ("top_logprobs", -1, "expected a whole number, 0 or more, not -1; correct it"),
    ("stop", 5, "expected text or a list of text, not 5; put it in quotes"),
    ("stop", ["a", 5], "expected text or a list of text, but this one holds something else; "),
    ("logprobs", 1, "expected true or false, not 1; correct it"),
    ("response_format", "json", "a mapping with type, such as {type: json_object}, not text; c"),
    ("response_format", {}, "a mapping with type, .* but this one holds something else; correct"),
    ("tools", {"type": "function"}, "expected a list of mappings, not a mapping; correct it"),
    ("tools", ["search"], "expected a list of mappings, but this one holds something else; corr"),
    ("stream_options", True, "expected a mapping, not true; correct it"),
    ("extra_body", "x", "expected a mapping, not text; correct it"),
    ("reasoning_effort", False, "expected text, not false; put it in quotes"),
]


# One of the values is too long to be a test's name.
@pytest.mark.parametrize(("name", "value", "said"), WRONG_PARAMS, ids=[w[2] for w in WRONG_PARAMS])
def test_a_wrong_parameter_is_told(name, value, said):
    with pytest.raises(ResourceError, match=said) as caught:
        one(params={name: value})
    assert caught.value.keys == (f"llm:a.params.{name}",)


@pytest.mark.parametrize("name", sorted(PARAMETERS - {"extra_headers"}))
def test_every_parameter_is_known_and_refuses_what_it_is_not(name):
    with pytest.raises(ResourceError, match=r": expected .*, not nothing; write one"):
        one(params={name: None})


def test_parameters_that_are_right_are_left_alone():
    params = {
        "temperature": 0,
        "top_p": 1,
        "frequency_penalty": -0.5,
        "max_tokens": 1,
        "seed": -1,
        "top_logprobs": 0,
        "logprobs": True,
        "stop": "$END",
        "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
        "logit_bias": {"50256": -100},
        "stream_options": {"include_usage": True},
        "extra_body": {"top_k": 40},
    }
    assert one(params=params).params == params


def test_all_problems_of_the_parameters_come_at_once():
    params = {
        "temprature": 1,
        "temperature": "hot",
        "max_tokens": -5,
        "max_completion_tokens": 5,
        "seed": "${UNSET}",
        "response_format": "json",
        "stream": True,
    }
    with pytest.raises(ResourceError, match="has 7 problems") as caught:
        one(params=params)
    assert sorted(key.removeprefix("llm:a.params.") for key in caught.value.keys) == [
        "max_tokens",
        "max_tokens",
        "response_format",
        "seed",
        "stream",
        "temperature",
        "temprature",
    ]
    with pytest.raises(ValidationError, match=r"temprature: unknown .*; stream: is no default"):
        LLMResource(name="a", api_key=SECRET, model="m", params={"temprature": 1, "stream": True})


@pytest.mark.parametrize(
    "base_url", ["https://openai/v1", "https://gateway/azure/openai", "https://x.openai.azure.com/"]
)
def test_an_endpoint_for_azure_may_be_anything_else(base_url):
    assert one(api_type="azure", api_version="1", base_url=base_url).base_url == base_url


def test_the_messages_know_every_field():
    assert set(EXPECTED) == set(LLMResource.model_fields) - {"name"}


@pytest.mark.parametrize("field", sorted(EXPECTED))
@pytest.mark.parametrize(
    "value",
    [object(), 10**5000, {}, [], True, float("nan"), (1,), b"x", ""],
    ids=["object", "huge", "dict", "list", "true", "nan", "tuple", "bytes", "empty"],
)
def test_every_field_refuses_what_it_is_not(field, value):
    fine = {dict: ("headers", "params"), int: ("max_concurrency", "circuit_failures")}
    if field in fine.get(type(value), ()):
        return
    values = {"api_key": "x", "model": "m", field: value}
    problems = dict(build("a", values, {}).problems)
    assert problems[f"llm:a.{field}"]
    assert "object at" not in problems[f"llm:a.{field}"]


# --- what is filled in ----------------------------------------------------------------


def test_variables_are_filled_in():
    found = one(
        api_key="${KEY}",
        base_url="http://${UNSET:-localhost}:${NUMBER}000/${EMPTY:-v1}",
        max_concurrency="${NUMBER}",
        timeout_s="${UNSET:-1e2}",
        circuit_failures="${UNSET:-null}",
        headers={"X-A": "$${KEY} $5 ${NUMBER}"},
        params={
            "temperature": "${NUMBER}",
            "stop": ["<${NUMBER}>"],
            "user": "${NUMBER}",
            "logprobs": "${UNSET:-True}",
            "top_p": "${EMPTY:-}",
        },
        provider="${UNSET:-}",
        tokens_per_minute="${EMPTY:-}",
    )
    assert found.api_key.get_secret_value() == SECRET
    assert found.base_url == "http://localhost:5000/v1"
    assert found.server == ("localhost", 5000)
    assert found.max_concurrency == 5
    assert found.timeout_s == 100.0
    assert found.circuit_failures is None
    assert found.headers == {"X-A": "${KEY} $5 5"}
    assert found.params == {"temperature": 5, "stop": ["<5>"], "user": "5", "logprobs": True}
    assert found.provider is None
    assert found.tokens_per_minute is None


def test_values_of_variables_are_not_filled_again(monkeypatch):
    monkeypatch.setenv("KEY", "${TEXT}")
    assert one(api_key="${KEY}").api_key.get_secret_value() == "${TEXT}"


def test_yaml_reads_as_people_write(tmp_path):
    text = "defaults: &d\n  api_key: x\n  timeout_s: 9\n"
    text += "llm:a:\n  <<: *d\n  model: gpt\n  timeout_s: 7\n  tokens_per_minute: 1e6\n"
    text += f"  {AZURE}\n".replace("\n", "\n  ")
    found = resolve(write(tmp_path, f"\ufeff{text}"))["a"]
    assert found.timeout_s == 7.0
    assert found.tokens_per_minute == 1e6
    assert found.api_version == "2024-10-21"


def test_other_top_level_keys_are_left_alone(tmp_path):
    path = write(tmp_path, f"{GOOD}other: [1, {{x: '${{UNSET}}'}}]\n5: x\nllm:b: nonsense\n")
    assert resolve(path)["a"].model == "gpt-4o"
    assert load_file(path).names == ("a", "b")


# --- where it is found -----------------------------------------------------------------


def test_the_nearest_file_above_is_found(tmp_path, monkeypatch):
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert find_file() is None
    top = write(tmp_path, GOOD)
    assert find_file() == top
    (deep / "resources.yaml").mkdir()
    near = write(tmp_path / "a", GOOD)
    assert find_file() == near


def test_the_variable_comes_first(tmp_path, monkeypatch):
    write(tmp_path, GOOD)
    named = write(tmp_path, GOOD, "other.yaml")
    monkeypatch.setenv("HUSH_CONFIG", "other.yaml")
    assert find_file() == named
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HUSH_CONFIG", "~/other.yaml")
    assert find_file() == named
    monkeypatch.setenv("HUSH_CONFIG", "")
    assert find_file() == tmp_path / "resources.yaml"


@pytest.mark.parametrize(("name", "said"), [("no.yaml", "does not exist"), (".", "is not a file")])
def test_a_named_file_must_be_one(name, said, tmp_path, monkeypatch):
    write(tmp_path, GOOD)
    monkeypatch.setenv("HUSH_CONFIG", name)
    with pytest.raises(ResourceError, match=f"HUSH_CONFIG names this file, which {said}; correct"):
        find_file()
    for read in (load_file, digest_of):
        with pytest.raises(ResourceError, match=f"{name}: {said}; correct the path"):
            read(name)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_named_file_must_be_readable(tmp_path, monkeypatch):
    write(tmp_path, GOOD).chmod(0)
    monkeypatch.setenv("HUSH_CONFIG", "resources.yaml")
    with pytest.raises(ResourceError, match=r"cannot be read .*; correct the variable"):
        find_file()


def test_a_working_folder_that_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ResourceError, match="is gone; set HUSH_CONFIG to the absolute path"):
        find_file()


# --- the key is never shown -----------------------------------------------------------


def test_the_key_is_nowhere_to_be_seen():
    found = one(headers={"X-Token": "HEADERSECRET"}, params={"user": "u"})
    texts = [repr(found), str(found), f"{found!r:>5}", repr([found]), repr(found.api_key)]
    texts += [str(found.model_dump()), found.model_dump_json(), str(found.model_dump(mode="json"))]
    texts += [repr(copy.copy(found)), repr(copy.deepcopy(found)), repr(found.model_copy())]
    assert not [text for text in texts if "SECRET" in text]
    assert copy.deepcopy(found) == found


def test_a_resource_is_not_pickled(tmp_path):
    found = one()
    raw = load_file(write(tmp_path, GOOD))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=r"llm:a cannot be pickled.*load the configuration in"):
            pickle.dumps(found, protocol)
        with pytest.raises(TypeError, match=r"cannot be pickled.*load it in the other process"):
            pickle.dumps([raw], protocol)
    assert "SECRET" not in repr(raw)


@pytest.mark.parametrize(
    "text",
    [
        fields("timeout_s: x"),
        fields("api_key: y"),
        fields("headers: {A: 5}").replace("api_key", "apikey"),
        f"{GOOD}  x: [\n",
        f"{GOOD}  {SECRET}\n",
        f"{GOOD}  x: *{SECRET}\n",
        f"{GOOD}  x: !{SECRET} 5\n",
        f"{GOOD}  x: !{SECRET}!x 5\n",
        f'{GOOD}  x: "{SECRET}\\q"\n',
        f"llm:a: {SECRET}",
        f"llm:a: [{SECRET}]",
        f"llm:a: {{api_key: x, model: x, base_url: {SECRET}, timeout_s: {SECRET}}}",
        f"llm:a: {{api_key: x, model: x, api_type: {SECRET}, provider: '${{{SECRET}}}'}}",
        GOOD.replace(SECRET, "${KEY} x"),
        GOOD.replace(SECRET, "'${KEY}\n'") + "  max_concurrency: ${KEY}\n",
        SECRET,
        f"{GOOD}".encode("utf-16"),
    ],
)
def test_no_error_shows_a_value(text, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(ResourceError) as caught:
        resolve(path)
    error = caught.value
    texts = [
        str(error),
        repr(error),
        repr(error.__dict__),
        "".join(traceback.format_exception(error)),
    ]
    # With each frame's variables, as some loggers print them; this test's own hold the file.
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    texts += [
        str(frame.locals) for frame in shown.stack if "test_resource_files" not in frame.filename
    ]
    texts += [str(pickle.loads(pickle.dumps(error)))]
    assert not [one for one in texts if "SECRET" in one]


def test_pydantics_own_error_shows_no_value():
    with pytest.raises(ValidationError) as caught:
        LLMResource(name="a", api_key=f"{SECRET} ", model=5, headers={"A": f"{SECRET}\n"})
    assert "SECRET" not in str(caught.value)
    with pytest.raises(ValidationError, match="api_version: is for api_type azure only"):
        LLMResource(name="a", api_key=SECRET, model="m", api_version="1")


# --- a resource ------------------------------------------------------------------------


def test_defaults():
    found = one()
    assert found.key == "llm:a"
    assert found.server == ("api.openai.com", 443)
    assert found.provider_name == "openai"
    assert (found.timeout_s, found.connect_timeout_s) == (60.0, 5.0)
    assert (found.circuit_failures, found.circuit_cooldown_s) == (5, 30.0)
    assert found.max_retry_after_s == 60.0
    assert found.headers == found.params == {}


def test_a_resource_is_a_value():
    assert one() == one()
    assert hash(one()) == hash(one())
    assert one() != one(timeout_s=5)
    with pytest.raises(ValidationError, match="frozen"):
        one().model = "x"


@pytest.mark.parametrize(
    ("base_url", "server"),
    [
        ("http://h", ("h", 80)),
        ("https://H.example/v1/", ("h.example", 443)),
        ("http://127.0.0.1:8080/v1", ("127.0.0.1", 8080)),
        ("http://[::1]:80/v1", ("::1", 80)),
    ],
)
def test_server(base_url, server):
    assert one(base_url=base_url).server == server


def test_provider_name():
    azure = {"api_type": "azure", "base_url": "https://x", "api_version": "1"}
    assert one(**azure).provider_name == "azure.ai.openai"
    assert one(**azure, provider="mine").provider_name == "mine"


def test_cost():
    assert one().cost_usd(5, 5, 5) is None
    prices = {"input_usd_per_million": 2, "output_usd_per_million": 8}
    assert one(**prices).cost_usd(1_000_000, 500_000, 400_000) == pytest.approx(6.0)
    cheap = one(**prices, cached_usd_per_million=0)
    assert cheap.cost_usd(1_000_000, 0, 400_000) == pytest.approx(1.2)
    assert cheap.cost_usd(100, 0, 10_000) == 0.0
    assert one(input_usd_per_million=0, output_usd_per_million=0).cost_usd(5, 5) == 0.0


def test_secrets():
    found = one(headers={"A": "Bearer abcdef", "B": "xyz", "C": "plain"})
    assert found.secrets == (SECRET, "Bearer abcdef", "abcdef", "plain")
    assert one(api_key="abc").secrets == ()


# --- anything at all -------------------------------------------------------------------

YAML_LIKE = st.lists(
    st.sampled_from(
        [
            *(
                "llm:a",
                ":",
                ": ",
                "\n",
                "  ",
                "- ",
                "? ",
                "{",
                "}",
                "[",
                "]",
                ",",
                "'",
                '"',
                "|",
                ">",
            ),
            *(
                "&a ",
                "*a",
                "<<: ",
                "!!",
                "!!int ",
                "!!bool ",
                "!x ",
                "%YAML 1.1",
                "---",
                "...",
                "#",
            ),
            *(
                "api_key",
                "model",
                "timeout_s",
                "params",
                "headers",
                "${",
                "${A}",
                "$${",
                ":-",
                "\\",
            ),
            *(
                "1",
                "0x",
                "0b_",
                "1:1",
                ".",
                "1e5",
                "=",
                "~",
                "null",
                "2024-99-99",
                "\t",
                "\x00",
                "é",
            ),
        ]
    ),
    max_size=60,
).map("".join)


@settings(max_examples=300)
@given(st.one_of(st.text(), YAML_LIKE, st.binary()))
@example("[" * 5000)
@example("a: 0b_\nb: 0x_\nc: !!int ''\nd: !!bool x\ne: !!float x\nf: 1__:1")
@example("llm:a: {<<: 5}")
@example(f"a: {'1:1' * 20000}")
@example(f"a: 1{':59' * 100_000}")
@example(f"a: {'9' * 100_000}")
@example('"\\ud800": 5')
def test_any_text_is_a_resource_file_or_a_resource_error(tmp_path_factory, text):
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    path = write(tmp_path_factory.getbasetemp(), content, "random.yaml")
    started = time.monotonic()
    try:
        assert isinstance(resolve(path)["a"], LLMResource)
    except ResourceError as error:
        str(error).encode()
    assert time.monotonic() - started < 20


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*EXPECTED, "x"]) | st.integers(), VALUES) | VALUES)
def test_any_entry_is_a_resource_or_problems(entry):
    built = build("a", entry, {})
    assert (built.resource is None) == bool(built.problems)
    for key, text in built.problems:
        assert key.startswith("llm:a")
        assert text


def test_deep_values_from_code_are_told():
    deep: list[object] = []
    deep.append(deep)
    with pytest.raises(ResourceError, match=f"deeper than {DEPTH_LIMIT} levels; make it") as caught:
        one(params={"x": deep})
    assert caught.value.keys == ("llm:a.params",)
