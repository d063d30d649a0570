"""What leaves on a span: no credentials, nothing endless, nothing that cannot be encoded."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush import semconv
from hush.observe.redaction import FAILED, clean, cut, exception_facts, redact_secrets


def keep(text):
    return text


@pytest.mark.parametrize(
    "text",
    [
        "401: Incorrect API key provided: sk-proj-SECRETSECRETSECRET.",
        "api_key='SECRETSECRETSECRET'",
        'headers={"Authorization": "Bearer SECRETSECRETSECRET"}',
        "Authorization: Basic SECRETSECRETSECRET==",
        "postgres://user:SECRETSECRETSECRET@db:5432/x",
        "OPENAI_API_KEY=SECRETSECRETSECRET python run.py",
        '{"password": "SECRETSECRETSECRET with spaces"}',
        "password='it\\'s SECRETSECRETSECRET'",
        "url?access_token=SECRETSECRETSECRET&x=1",
        "client_secret: SECRETSECRETSECRET, next",
        "-----BEGIN RSA PRIVATE KEY-----\nSECRETSECRETSECRET\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nSECRETSECRETSECRET",
        "ghp_SECRETSECRETSECRET in a line",
        "eyJSECRETSECRET.SECRETSECRETSECRET.SECRETSECRET",
        "Set-Cookie: SECRETSECRETSECRET",
    ],
)
def test_credentials_are_taken_out(text):
    assert "SECRETSECRET" not in redact_secrets(text)
    assert "[redacted]" in redact_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "tokens: 512",
        "total_tokens=1024 prompt_tokens=3",
        "KeyError: 'key'",
        "file /usr/lib/python3/secretstorage.py not found",
        "the token is wrong",
        "http://localhost:4318/v1/traces",
        "max_tokens must be positive",
    ],
)
def test_the_rest_stays(text):
    assert redact_secrets(text) == text


def test_cut_says_how_much_is_gone():
    assert cut("abcdef", 4) == "abcd…[+2]"
    assert cut("abcd", 4) == "abcd"


def test_long_texts_are_cut_and_counted():
    limit = semconv.TEXT_LIMIT
    assert clean("x" * (limit + 5), keep) == "x" * limit + "…[+5]"
    assert clean("x" * 1_000_000, keep) == "x" * limit + f"…[+{1_000_000 - limit}]"


def test_a_redactor_that_raises_lets_nothing_through():
    def broken(text):
        raise RuntimeError(text)

    assert clean("secret", broken) == FAILED
    assert clean("secret", lambda text: None) == FAILED
    facts = exception_facts(ValueError("secret"), broken)
    assert facts.message == FAILED
    assert facts.stacktrace == FAILED


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no")


def test_an_exception_that_cannot_be_printed():
    facts = exception_facts(Unprintable(), keep)
    assert facts.message == "<unprintable Unprintable>"
    assert facts.type.endswith("Unprintable")


def test_the_stack_trace_ends_at_the_fault():
    def deep(n):
        if n == 0:
            raise ValueError("here it is, api_key=SECRETSECRET")
        deep(n - 1)

    with pytest.raises(ValueError) as caught:
        deep(300)
    facts = exception_facts(caught.value, redact_secrets)
    assert len(facts.stacktrace) < semconv.TEXT_LIMIT + 50
    assert facts.stacktrace.rstrip().endswith("api_key=[redacted]")
    assert "SECRETSECRET" not in facts.message


def test_half_characters_can_be_encoded():
    clean("\ud800 x", keep).encode("utf-8")


@given(st.text(max_size=300))
def test_any_text_survives(text):
    clean(text, redact_secrets).encode("utf-8")


@pytest.mark.parametrize(
    "unit", ["api_key=", "a" * 3, "-----BEGIN ", "eyJ", "://a:", "password:'", "secret_"]
)
def test_no_pattern_takes_long(unit):
    text = (unit * 20_000)[:65_536]
    began = time.perf_counter()
    clean(text, redact_secrets)
    assert time.perf_counter() - began < 5
