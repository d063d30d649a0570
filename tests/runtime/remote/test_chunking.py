"""How many items go to a worker at once."""

from __future__ import annotations

from hush.runtime.remote.chunking import ChunkSize, Pace


def sizes(item_s, items=400, at_once=100, slots=2):
    """Return the chunks of a map whose pace is known."""
    pace = Pace()
    size = ChunkSize(at_once, slots, idempotent=True, pace=pace)
    for _ in range(5):
        size.ended(10, 10 * item_s)
    left, found = items, []
    while left:
        found.append(min(left, size.next(left)))
        left -= found[-1]
    return found


def test_items_that_wait_go_in_full_chunks_to_the_end():
    assert sizes(0.0005) == [50] * 8
    assert sizes(0.0) == [50] * 8


def test_the_last_items_that_compute_are_shared_out():
    found = sizes(0.02)
    assert found[0] == 50
    # Down to a twentieth of a second.
    assert found[-2:] == [2, 1]
    assert sizes(0.2)[0] == 5
    assert sizes(0.2)[-1] == 1
    assert sizes(3.0) == [1] * 400


def test_nothing_known_is_shared_out_too():
    assert ChunkSize(100, 2, idempotent=True).next(6) == 3
    assert ChunkSize(100, 2, idempotent=False).next(6) == 1
