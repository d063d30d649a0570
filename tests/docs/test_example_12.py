"""examples/12_multi_model.py: comparing, routing, balancing, fallback, a jury."""

from __future__ import annotations

import re

import pytest

from tests.docs.example_runs import SAID_OF_SCRIPTED, complaints, real_provider, run_example

NAME = "12_multi_model.py"


def cases(out):
    """Return the table's first column: where a new row begins."""
    table = out.partition(" case ")[2].partition("balance:")[0]
    return re.findall(r"^ ?([a-z]+(?: up)?)  ", table, re.MULTILINE)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_everything(tmp_path, backend):
    done = run_example(NAME, "--backend", backend, cwd=tmp_path)
    out = done.stdout
    assert complaints(done) == ""
    assert SAID_OF_SCRIPTED in out
    assert cases(out) == [
        *["compare"] * 3,
        # An easy question stays with the small model; a long one and an unsure answer go up.
        *["route", "route up", "route up"],
        "fallback",
        *["jury"] * 3,
        "judge",
    ]
    assert "number 1: it names" in out
    shares = dict(re.findall(r"(gpt-4o-mini|qwen-3-8b) (\d)", out.partition("balance:")[2][:90]))
    assert sum(map(int, shares.values())) == 8
    assert int(shares["gpt-4o-mini"]) > int(shares["qwen-3-8b"]) > 0
    # Two calls to the resource that is down, then the other one.
    assert "fallback from down to gpt-4o-mini after connection" in out
    assert len(re.findall(r"✗ chat gpt-4o-mini connection", out)) == 2
    for graph in ("compare", "route", "balance", "fall_back", "ensemble"):
        assert f"graph {graph} " in out
    assert re.search(r"^23 calls, tokens \d+ in, \d+ out, \$0\.\d+$", out, re.MULTILINE)


def test_real_provider(tmp_path):
    models = ("big-1", "tiny-2", "mid-3")
    script = "multi_model_script.py"
    with real_provider(tmp_path, script, *models) as (server, names, variables):
        done = run_example(NAME, "--models", names, cwd=tmp_path, **variables)
    out = done.stdout
    assert "scripted" not in out
    assert len(cases(out)) == 11
    # The table has the model's name and, where that is another, the resource's.
    assert "big-1" in out
    assert "of res-0" in out
    assert "sk-secret" not in out
    assert {request.model for request in server.requests} == set(models)
    assert len(server.requests) == 21
    assert " ? " in out  # no prices, no cost
    verdict = next(r.body for r in server.requests if "Which of these" in str(r.body))
    assert verdict["response_format"]["type"] == "json_schema"


def test_one_model_is_enough(tmp_path):
    with real_provider(tmp_path, "multi_model_script.py", "only") as (server, names, variables):
        out = run_example(NAME, "--models", names, cwd=tmp_path, **variables).stdout
    assert "balance: 8 calls, meant 3 to 1: res-0 8" in out
    assert {request.model for request in server.requests} == {"only"}


def test_openai_key(tmp_path):
    with real_provider(tmp_path, "multi_model_script.py", "gpt-4.1-mini", "gpt-4.1-nano") as (
        server,
        _,
        _,
    ):
        from hush.testing import Answer

        server.default("gpt-4o-mini", Answer("Yes."))
        variables = {"OPENAI_API_KEY": "sk-secret", "OPENAI_BASE_URL": server.base_url}
        out = run_example(NAME, cwd=tmp_path, **variables).stdout
    assert "OPENAI_API_KEY is set: gpt-4.1-mini, gpt-4.1-nano, gpt-4o-mini" in out
    assert "scripted" not in out
    assert len(cases(out)) == 11
    assert "sk-secret" not in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("llm:a:\n  model: x\n", "api_key"),
        ("other: 1\n", "configures no language model"),
        (None, "HUSH_CONFIG"),
    ],
    ids=["no key", "no models", "no file"],
)
def test_bad_file_is_one_error(tmp_path, text, said):
    path = tmp_path / "r.yaml"
    if text is not None:
        path.write_text(text)
    done = run_example(NAME, code=1, cwd=tmp_path, HUSH_CONFIG=str(path))
    assert done.stderr.startswith("error: ")
    assert said in done.stderr


def test_resource_that_is_not_in_the_file(tmp_path):
    (tmp_path / "resources.yaml").write_text("llm:a:\n  api_key: k\n  model: m\n")
    done = run_example(NAME, "--models", "b", code=1, cwd=tmp_path)
    assert done.stderr.startswith("error: ")
    assert "llm:b" in done.stderr
