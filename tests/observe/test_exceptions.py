"""What a span says of an exception: frames, message and causes, each with its share."""

from __future__ import annotations

import pytest

from hush import semconv
from hush.observe.exceptions import MESSAGE_LIMIT, exception_facts
from hush.observe.redaction import FAILED, redact_secrets


def keep(text):
    return text


def facts_of(function, redactor=keep, **options):
    with pytest.raises(BaseException) as caught:
        function()
    facts = exception_facts(caught.value, redactor, **options)
    assert len(facts.stacktrace) <= semconv.TEXT_LIMIT
    return facts


def test_a_long_message_leaves_the_frames():
    def innermost():
        raise ValueError("m" * 100_000)

    facts = facts_of(innermost)
    assert "in innermost\n    raise ValueError" in facts.stacktrace
    assert facts.stacktrace.startswith("Traceback (most recent call last):\n  File")
    assert facts.stacktrace.endswith(
        f"ValueError: {'m' * MESSAGE_LIMIT}…[+{100_000 - MESSAGE_LIMIT}]\n"
    )
    assert facts.message == "m" * semconv.TEXT_LIMIT + f"…[+{100_000 - semconv.TEXT_LIMIT}]"


def test_of_many_frames_the_innermost_are_kept():
    def deep(n):
        if n == 0:
            raise ValueError("here it is, api_key=SECRETSECRET")
        even(n - 1) if n % 2 else odd(n - 1)

    def even(n):
        deep(n)

    def odd(n):
        deep(n)

    facts = facts_of(lambda: deep(300), redact_secrets)
    assert facts.stacktrace.endswith("ValueError: here it is, api_key=[redacted]\n")
    assert "SECRETSECRET" not in repr(facts)
    assert "  [earlier frames left out]\n  File" in facts.stacktrace
    assert len(facts.stacktrace) > semconv.TEXT_LIMIT * 0.8


def test_a_quote_in_a_line_of_code_does_not_swallow_the_next_frames():
    def outer():
        inner(
            password="""half
        """
        )

    def inner(password):
        raise ValueError("x")

    facts = facts_of(outer, redact_secrets)
    assert "in inner" in facts.stacktrace
    assert "half" not in facts.stacktrace


def test_the_cause_is_told():
    def opens():
        raise KeyError("no such key, password=hunter2")

    def loads():
        try:
            opens()
        except KeyError as error:
            raise ValueError("not loaded") from error

    trace = facts_of(loads, redact_secrets).stacktrace
    head, _, rest = trace.partition("ValueError: not loaded\n")
    assert "in loads" in head
    first, frame, _ = rest.split("\n", 2)
    assert first == "Caused by KeyError: 'no such key, password=[redacted]'"
    assert frame.endswith("in opens")


def test_what_was_being_handled_is_told_unless_it_was_suppressed():
    def fails(*, hidden):
        try:
            raise KeyError("first")
        except KeyError:
            if hidden:
                raise ValueError("second") from None
            raise ValueError("second")  # noqa: B904  # which is what is tested

    shown = facts_of(lambda: fails(hidden=False)).stacktrace
    assert "\nWhile handling KeyError: 'first'\n" in shown
    assert facts_of(lambda: fails(hidden=True)).stacktrace.endswith("\nValueError: second\n")


def test_a_group_tells_its_members():
    def fails():
        raise ExceptionGroup("two", [ValueError("a"), ExceptionGroup("in", [KeyError("b")])])

    trace = facts_of(fails).stacktrace
    for line in ("Containing ValueError: a", "Containing KeyError: 'b'"):
        assert f"\n{line}\n" in trace


def test_a_chain_ends():
    def fails():
        error = None
        for i in range(1_000):
            one = ValueError(f"{i} " + "x" * 1_000)
            one.__cause__ = error
            error = one
        raise error

    trace = facts_of(fails).stacktrace
    assert "Caused by ValueError: 998 x" in trace
    assert trace.endswith("[more left out]\n")
    assert "in fails" in trace

    def turns_in_circles():
        one, two = ValueError("one"), ValueError("two")
        one.__cause__, two.__cause__ = two, one
        raise one

    assert facts_of(turns_in_circles).stacktrace.count("Caused by") == 1


def test_notes_are_told():
    def fails():
        error = ValueError("x")
        error.add_note("while reading token=abcdef123456")
        raise error

    trace = facts_of(fails, redact_secrets).stacktrace
    assert trace.endswith("ValueError: x\nwhile reading token=[redacted]\n")


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no")


class Unnoted(Exception):
    @property
    def __notes__(self):
        raise RuntimeError("no")


class Nameless(Exception):
    pass


Nameless.__module__ = None
Nameless.__qualname__ = "Q" * 10_000


@pytest.mark.parametrize("error", [Unprintable(), Unnoted("x"), Nameless("x")])
def test_exceptions_that_cannot_be_read(error):
    facts = exception_facts(error, keep)
    assert facts.type.split("…")[0] in facts.status
    assert len(facts.status) < 500
    assert len(facts.type) < 300
    assert facts.message in {"x", "<unprintable Unprintable>"}
    assert facts.stacktrace


def test_the_status_is_cut_as_a_whole():
    limit = semconv.TEXT_LIMIT
    facts = exception_facts(ValueError("x" * 100_000), keep, path="shop.pay", with_trace=False)
    whole = "shop.pay: ValueError: " + "x" * 100_000
    assert facts.status == whole[:limit] + f"…[+{len(whole) - limit}]"
    assert facts.stacktrace == ""


def test_a_path_is_not_told_twice():
    facts = exception_facts(ValueError("shop.pay: too slow"), keep, path="shop.pay")
    assert facts.status == "ValueError: shop.pay: too slow"


def test_a_redactor_that_raises_lets_nothing_through():
    def broken(text):
        raise RuntimeError(text)

    def fails():
        raise ValueError("private") from KeyError("private")

    facts = facts_of(fails, broken)
    assert facts.message == FAILED
    assert "private" not in repr(facts)
