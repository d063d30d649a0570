"""What leaves on a span: redacted, nothing endless, nothing that cannot be encoded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush import semconv
from hush.observe.describing import REMEMBERED, attributes_of, value_of
from hush.observe.redaction import FAILED, clean, cut, redact_secrets, safe_text
from hush.observe.settings import settings


def keep(text):
    return text


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


def test_half_characters_can_be_encoded():
    clean("\ud800 x", keep).encode("utf-8")


@given(st.text(max_size=300))
def test_any_text_survives(text):
    clean(text, redact_secrets).encode("utf-8")


class Evil(str):
    """A text whose every method is somebody else's code."""

    __slots__ = ()

    def _fail(self, *args, **kwargs):
        raise RuntimeError("no")

    encode = __str__ = __len__ = __getitem__ = __format__ = _fail


class SaysEvil(Exception):
    def __str__(self):
        return Evil("said")


def test_a_text_of_any_class_is_read():
    for value, text in ((Evil("text"), "text"), (SaysEvil(), "said"), ("\ud800", "?")):
        assert safe_text(value) == text
        assert type(safe_text(value)) is str
        assert clean(value, keep) == text
    assert clean("x", lambda _: Evil("text")) == "text"
    assert attributes_of({"hush.node.name": Evil("n")}) == {"hush.node.name": "n"}


def test_the_note_counts_what_was_never_read():
    limit = semconv.TEXT_LIMIT
    assert cut("x" * (limit + 1), beyond=5).endswith("x…[+6]")
    assert cut("x", beyond=5) == "x…[+5]"


# --- attributes ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -(2**63), 2**63 - 1, 1.5, True, float("inf")])
def test_numbers_stay_numbers(number):
    assert value_of(number) is number
    assert value_of([number]) == [number]


def test_whole_numbers_beyond_64_bits_become_text():
    assert value_of(2**63) == str(2**63)
    assert value_of([1, -(2**70)]) == [1, str(-(2**70))]
    # Python itself refuses to write so many digits.
    assert value_of(10**5_000) == "<unprintable int>"


def test_no_value_is_beyond_reading():
    endless = []
    endless.append(endless)

    class Unreadable(list):
        def __iter__(self):
            raise OSError("no")

    assert value_of(endless)
    assert value_of(Unreadable([1])) == "<unreadable Unreadable>"
    assert value_of({"password": "hunter2"}) == "{'password': [redacted]}"


def test_names_are_redacted_once(monkeypatch):
    calls = []
    monkeypatch.setattr(settings, "redactor", lambda text: calls.append(text) or text.upper())
    facts = {"hush.node.name": "pay", "hush.node.path": "shop.pay"}
    for _ in range(3):
        assert attributes_of(facts) == {"hush.node.name": "PAY", "hush.node.path": "SHOP.PAY"}
    assert calls == ["pay", *["shop.pay"] * 3]
    monkeypatch.setattr(settings, "redactor", lambda text: text.title())
    assert attributes_of(facts)["hush.node.name"] == "Pay"


def test_remembering_names_has_an_end(monkeypatch):
    calls = []
    monkeypatch.setattr(settings, "redactor", lambda text: calls.append(text) or text)
    for _ in range(2):
        for i in range(REMEMBERED + 1):
            attributes_of({"hush.node.name": f"n{i}"})
        attributes_of({"hush.node.name": "x" * 10_000})
    assert len(calls) == REMEMBERED + 1 + 1 + 2


def test_a_redactor_that_failed_once_is_asked_again(monkeypatch):
    answers = [None, "pay"]
    monkeypatch.setattr(settings, "redactor", lambda _: answers.pop(0))
    seen = [attributes_of({"hush.node.name": "pay"})["hush.node.name"] for _ in range(3)]
    assert seen == [FAILED, "pay", "pay"]
