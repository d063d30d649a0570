"""Critical paths as steps: bounded, in order, with all the seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush.runtime.trail import LIMIT, Chain, Step, shortened, told, within

steps = st.lists(
    st.builds(Step, st.text(max_size=5), st.floats(min_value=0, max_value=100)), max_size=100
)


@given(steps)
def test_a_trail_is_bounded_and_keeps_the_seconds_and_the_longest(every):
    trail = shortened(every)
    assert len(trail) <= LIMIT
    assert sum(step.seconds for step in trail) == pytest.approx(sum(s.seconds for s in every))
    if every:
        longest = max(every, key=lambda step: step.seconds)
        assert any(step.seconds == longest.seconds for step in trail)


def test_steps_inside_take_the_place_of_what_contains_them():
    inner = (Step("a", 1.0), Step("b", 2.0))
    assert within("sub", 3.01, inner) == [Step("sub.a", 1.0), Step("sub.b", 2.0)]
    assert within("sub", 4.0, inner)[-1] == Step("sub (itself)", 1.0)
    assert within("leaf", 4.0, ()) == [Step("leaf", 4.0)]


def test_a_worker_tells_its_longest_items_in_their_order():
    chain = Chain()
    for index in range(1000):
        chain.add(index, 2.0 if index in (7, 500) else 0.01, (Step("fetch", 0.01),))
    trail = chain.trail()
    assert len(trail) <= LIMIT
    labels = [step.label for step in trail]
    assert labels.index("[7].fetch") < labels.index("[500].fetch")
    assert sum(step.seconds for step in trail) == pytest.approx(4.0 + 998 * 0.01, rel=1e-6)
    assert within("pages", 14.0, trail)[0].label == "pages (996 more items)"


def test_the_wait_for_the_source_is_a_step_of_its_own():
    chain = Chain()
    chain.waited(3.0)
    chain.add(0, 1.0, ())
    assert within("pages", 4.0, chain.trail()) == [
        Step("pages (source)", 3.0),
        Step("pages[0]", 1.0),
    ]


def test_told_with_shares():
    assert told((Step("a", 1.5), Step("b", 0.5)), 2.0) == ["a 1.500s 75%", "b 0.500s 25%"]
