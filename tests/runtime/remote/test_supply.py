"""What goes to a worker next: what is due before what is new, and what has lost a worker alone."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from hush.runtime.remote.call import ItemReport
from hush.runtime.remote.chunking import CHUNK_BYTES, ChunkSize, Pace, longest_way
from hush.runtime.remote.supply import LINGER_S, Supply


def item(index, *, losses=0, deadline=math.inf, size=1):
    return SimpleNamespace(index=index, losses=losses, deadline=deadline, packed=b"x" * size)


def indices(chunk):
    return [one.index for one in chunk]


def test_what_waits_to_be_tried_again_goes_when_it_is_due_and_together():
    supply = Supply(lambda: None)
    for index, due in enumerate((3.0, 1.0, 2.0)):
        supply.again(item(index), due)
    assert indices(supply.due(8, 0.5)) == []
    assert supply.until(0.5) == 1.0
    assert indices(supply.due(8, 2.5)) == [1, 2]
    assert indices(supply.due(1, 3.5)) == [0]
    assert not list(supply.waiting())


def test_what_has_lost_a_worker_or_has_a_time_limit_goes_alone():
    supply = Supply(lambda: None)
    supply.again(item(0), 1.0)
    supply.again(item(1, losses=1), 1.0)
    supply.again(item(2, losses=1), 1.0)
    supply.again(item(3), 1.0)
    supply.again(item(4, deadline=9.0), 1.0)
    chunks = [indices(supply.due(8, 1.0)) for _ in range(5)]
    assert chunks == [[0], [1], [2], [3], [4]]


def test_an_item_whose_time_is_over_is_due_then():
    supply = Supply(lambda: None)
    supply.again(item(0, deadline=2.0), 60.0)
    assert supply.until(0.0) == 2.0
    assert indices(supply.due(8, 2.0)) == [0]


def test_a_chunk_is_full_before_it_is_too_large():
    sizes = iter([CHUNK_BYTES // 2] * 3 + [3 * CHUNK_BYTES, 1])
    count = iter(range(100))

    def pull():
        size = next(sizes, None)
        return None if size is None else item(next(count), size=size)

    supply = Supply(pull)
    assert [indices(supply.fresh(8, 0.0)) for _ in range(5)] == [[0, 1], [2], [3], [4], []]
    assert supply.empty


def test_what_is_there_waits_a_little_for_company_where_the_source_is_waited_for():
    supply = Supply(None)
    assert supply.fresh(2, 0.0) == []
    supply.hold(item(0), 1.0)
    assert supply.fresh(2, 1.0) == []
    assert supply.until(1.0) == 1.0 + LINGER_S
    assert indices(supply.fresh(2, 1.0 + LINGER_S)) == [0]
    supply.hold(item(1), 2.0)
    supply.hold(item(2), 2.0)
    assert indices(supply.fresh(2, 2.0)) == [1, 2]
    supply.hold(item(3), 3.0)
    supply.over = True
    assert indices(supply.fresh(2, 3.0)) == [3]
    assert supply.empty
    # What has waited long enough is not asked about again and again.
    supply.hold(item(4), 4.0)
    assert supply.until(5.0) == math.inf


def test_chunks_take_about_a_second_of_work():
    size = ChunkSize(1000, 2, idempotent=True)
    assert size.next(None) == 8
    size.ended(8, 0.08)
    assert size.next(None) == 64
    size.ended(64, 0.64)
    assert size.next(None) == 100
    size.ended(100, 20.0)
    assert size.next(None) == pytest.approx(10, abs=1)
    for _ in range(9):
        size.ended(8, 0.0)
    assert size.next(None) == 500


def test_chunks_are_small_where_answers_are_large():
    size = ChunkSize(1000, 2, idempotent=True)
    size.ended(8, 0.0, 8 * 1_048_576)
    assert size.next(None) == 8
    size.ended(8, 0.0, 8 * 4_194_304)
    assert size.next(None) == 2
    size.ended(2, 0.0, 2 * 41_943_040)
    assert size.next(None) == 1


def test_what_one_run_has_learnt_the_next_one_knows():
    pace = Pace()
    ChunkSize(1000, 2, idempotent=True, pace=pace).ended(8, 0.0)
    assert ChunkSize(1000, 2, idempotent=True, pace=pace).next(None) == 64
    assert ChunkSize(20, 2, idempotent=True, pace=pace).next(None) == 10


def test_the_last_items_are_shared_out():
    size = ChunkSize(100, 4, idempotent=True)
    assert size.next(10) == 3
    assert size.next(1) == 1
    assert size.next(0) == 1


def test_one_at_a_time_where_the_limit_or_the_body_wants_it():
    assert ChunkSize(3, 4, idempotent=True).next(None) == 1
    lonely = ChunkSize(100, 1, idempotent=False)
    lonely.ended(1, 0.0)
    assert lonely.next(None) == 1


def test_the_way_through_a_chunk_goes_back_from_what_ended_last():
    def report(index, began, ended):
        return ItemReport(index, 1, began, ended)

    reports = [report(0, 0, 50), report(1, 0, 20), report(2, 20, 40), report(3, 50, 90)]
    assert [one.index for one in longest_way(reports)] == [0, 3]
    assert [one.index for one in longest_way(reports[1:3])] == [1, 2]
    assert longest_way([]) == []
