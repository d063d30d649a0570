"""The limiter: what it lets in, in which order, whoever is cancelled, on however many loops."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from functools import partial
from itertools import pairwise

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from hush.providers.admission import Entry, Queue
from hush.providers.buckets import Bucket
from hush.providers.limiter import Limiter, LimiterSnapshot, Permit
from hush.providers.waking import Sleeper

EMPTY = LimiterSnapshot(in_use=0, waiting=0, request_level=None, token_level=None)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def settled() -> None:
    """Return when every other task of this loop waits, and no waking is on its way."""
    await anyio.sleep(0.002)
    await anyio.wait_all_tasks_blocked()


async def in_line(tg, limiter: Limiter, tokens: int, take) -> None:
    """Start a task that acquires, and return when it is in the queue or has passed."""

    async def task() -> None:
        take(await limiter.acquire(tokens))

    tg.start_soon(task)
    await settled()


# --- one loop ----------------------------------------------------------------------------


async def test_concurrency_is_held_and_reached():
    limiter = Limiter("m", max_concurrency=7)
    rng = random.Random(1)
    now = peak = done = 0

    async def work() -> None:
        nonlocal now, peak, done
        permit = await limiter.acquire(1)
        now += 1
        peak = max(peak, now)
        assert now <= limiter.snapshot().in_use <= 7
        for _ in range(rng.randrange(4)):
            await anyio.lowlevel.checkpoint()
        if rng.random() < 0.1:
            await anyio.sleep(0.001)
        now -= 1
        done += 1
        permit.release()

    async with anyio.create_task_group() as tg:
        for _ in range(500):
            tg.start_soon(work)
    assert (peak, done) == (7, 500)
    assert limiter.snapshot() == EMPTY


async def test_first_come_first_served():
    limiter = Limiter("m", max_concurrency=1)
    first = await limiter.acquire(0)
    order: list[int] = []
    async with anyio.create_task_group() as tg:
        for i in range(20):

            def take(permit: Permit, i: int = i) -> None:
                order.append(i)
                permit.release()

            await in_line(tg, limiter, 0, take)
        assert limiter.snapshot().waiting == 20
        first.release()
    assert order == list(range(20))


async def test_a_large_request_is_not_overtaken():
    clock = Clock()
    limiter = Limiter("m", tokens_per_minute=600, clock=clock)
    (await limiter.acquire(10)).release()
    order: list[int] = []
    async with anyio.create_task_group() as tg:
        for tokens in (50, 1, 1):
            await in_line(tg, limiter, tokens, lambda _, tokens=tokens: order.append(tokens))
        clock.now += 0.5
        await in_line(tg, limiter, 0, lambda _: order.append(0))
        # Each alone would fit into the five tokens, but they came later.
        assert order == []
        clock.now += 0.5
        await in_line(tg, limiter, 0, lambda _: order.append(0))
        assert order == [50]
        clock.now += 4.3
        await in_line(tg, limiter, 0, lambda _: order.append(0))
    assert sorted(order[1:]) == [0, 0, 0, 1, 1]


async def test_what_passes_at_once_did_not_wait():
    limiter = Limiter("m", max_concurrency=1, requests_per_minute=60, tokens_per_minute=60)
    permit = await limiter.acquire(1)
    assert permit.waited_s == 0.0
    assert permit.blocked_by is None
    permit.release()


async def test_without_limits_nothing_is_counted():
    limiter = Limiter("m")
    assert limiter.unlimited
    permits = [await limiter.acquire(10**9) for _ in range(100)]
    assert limiter.snapshot() == EMPTY
    assert {(p.waited_s, p.blocked_by) for p in permits} == {(0.0, None)}
    for permit in permits:
        permit.correct(5)
        permit.release()
    assert not Limiter("m", tokens_per_minute=1).unlimited


@pytest.mark.parametrize("limits", [{}, {"max_concurrency": 3}])
async def test_acquire_is_a_checkpoint(limits):
    limiter = Limiter("m", **limits)
    ran = []
    async with anyio.create_task_group() as tg:
        tg.start_soon(_note, ran)
        # Twice, because trio shuffles those who are ready at the same time.
        for _ in range(2):
            (await limiter.acquire(0)).release()
        assert ran
    with anyio.CancelScope() as scope:
        scope.cancel()
        await limiter.acquire(0)
    assert scope.cancelled_caught
    assert limiter.snapshot() == EMPTY


async def _note(ran: list[int]) -> None:
    ran.append(1)


async def test_release_and_correct_count_once():
    clock = Clock()
    limiter = Limiter("m", max_concurrency=2, tokens_per_minute=6000, clock=clock)
    one, two = await limiter.acquire(10), await limiter.acquire(10)
    assert limiter.snapshot() == LimiterSnapshot(2, 0, None, 80)
    for _ in range(3):
        one.release()
        one.correct(30)
    assert limiter.snapshot() == LimiterSnapshot(1, 0, None, 60)
    two.correct(-5)
    assert limiter.snapshot().token_level == 70
    two.release()
    assert limiter.snapshot().in_use == 0


async def test_a_release_from_within_the_locked_part_is_worked_off():
    # As when the garbage collector closes a forgotten coroutine just then.
    forgotten: list[Permit] = []

    def clock() -> float:
        while forgotten:
            forgotten.pop().release()
        return 1.0

    limiter = Limiter("m", max_concurrency=2, clock=clock)
    one, two = await limiter.acquire(0), await limiter.acquire(0)
    forgotten.append(one)
    two.release()
    assert limiter.snapshot() == EMPTY


async def test_tokens_given_back_let_the_next_one_pass():
    clock = Clock()
    limiter = Limiter("m", tokens_per_minute=6000, clock=clock)
    permit = await limiter.acquire(100)
    got: list[Permit] = []
    async with anyio.create_task_group() as tg:
        await in_line(tg, limiter, 50, got.append)
        assert limiter.snapshot().waiting == 1
        clock.now += 0.1
        permit.correct(20)
    assert got[0].blocked_by == "tokens_per_minute"
    assert got[0].waited_s == pytest.approx(0.1)
    assert limiter.snapshot().token_level == pytest.approx(40)


async def test_tokens_charged_later_hold_the_next_one_back():
    clock = Clock()
    limiter = Limiter("m", tokens_per_minute=6000, clock=clock)
    permit = await limiter.acquire(10)
    permit.correct(400)
    assert limiter.snapshot().token_level == -300
    got: list[Permit] = []
    async with anyio.create_task_group() as tg:
        await in_line(tg, limiter, 1, got.append)
        clock.now += 3.0
        await in_line(tg, limiter, 0, got.append)
        assert got == []
        clock.now += 0.01
        await in_line(tg, limiter, 0, got.append)
    assert sorted(p.waited_s for p in got) == pytest.approx([0.0, 0.01, 3.01])


@pytest.mark.parametrize("kind", ["requests_per_minute", "tokens_per_minute"])
async def test_rates_are_obeyed_in_real_time(kind):
    limiter = Limiter("m", **{kind: 1200})
    began = time.monotonic()
    at: list[float] = []
    waits: list[Permit] = []

    async def work() -> None:
        permit = await limiter.acquire(1)
        at.append(time.monotonic() - began)
        waits.append(permit)
        permit.release()

    async with anyio.create_task_group() as tg:
        for _ in range(40):
            tg.start_soon(work)
    # Twenty at once, then one each 50 ms.
    for i, seconds in enumerate(at):
        assert seconds >= (i - 20) * 0.05 - 0.001
    assert at[-1] < 20
    assert sum(p.blocked_by is None and p.waited_s == 0.0 for p in waits) >= 20
    assert {p.blocked_by for p in waits} == {None, kind}
    assert 0 < max(p.waited_s for p in waits) <= at[-1]


def test_rates_are_exact_in_trios_own_time():
    async def main() -> list[float]:
        limiter = Limiter("m", requests_per_minute=60, clock=trio.current_time)
        at = []

        async def work() -> None:
            (await limiter.acquire(1)).release()
            at.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for _ in range(600):
                nursery.start_soon(work)
        return at

    at = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [b - a for a, b in pairwise(at)] == pytest.approx([1.0] * 599, abs=1e-3)


@pytest.mark.parametrize(
    ("held_s", "blocked_by"), [(0.9, "requests_per_minute"), (1.5, "max_concurrency")]
)
async def test_the_limit_that_held_longest_is_named(held_s, blocked_by):
    clock = Clock()
    limiter = Limiter("m", max_concurrency=1, requests_per_minute=60, clock=clock)
    first = await limiter.acquire(0)
    got: list[Permit] = []
    async with anyio.create_task_group() as tg:
        await in_line(tg, limiter, 0, got.append)
        clock.now += held_s
        first.release()
        await settled()
        clock.now += max(0.0, 1.0 - held_s)
        # Any event has the queue look at the clock.
        first.release()
    assert got[0].blocked_by == blocked_by
    assert got[0].waited_s == pytest.approx(max(1.0, held_s))


async def test_who_waits_behind_the_head_is_held_by_what_holds_the_head():
    clock = Clock()
    limiter = Limiter("m", max_concurrency=1, tokens_per_minute=60, clock=clock)
    first = await limiter.acquire(1)
    got: list[Permit] = []

    def take(permit: Permit) -> None:
        got.append(permit)
        permit.release()

    async with anyio.create_task_group() as tg:
        await in_line(tg, limiter, 0, take)
        await in_line(tg, limiter, 4, take)
        await in_line(tg, limiter, 0, take)
        clock.now += 2
        first.release()
        await settled()
        assert [p.waited_s for p in got] == [2.0, 2.0]
        clock.now += 3
        first.release()
    assert got[2].waited_s == 5.0
    assert [p.blocked_by for p in got] == ["max_concurrency"] * 2 + ["tokens_per_minute"]


@pytest.mark.parametrize(
    "limits",
    [{"max_concurrency": 0}, {"requests_per_minute": 0}, {"tokens_per_minute": -1}],
)
def test_limits_that_make_no_sense_are_refused(limits):
    with pytest.raises(ValueError, match=r"above 0|at least 1"):
        Limiter("m", **limits)


async def test_tokens_below_0_are_refused():
    with pytest.raises(ValueError, match="tokens=-1"):
        await Limiter("m").acquire(-1)


# --- cancellation ------------------------------------------------------------------------


async def test_who_is_cancelled_leaves_the_queue_and_the_next_one_moves_up():
    limiter = Limiter("m", max_concurrency=1)
    first = await limiter.acquire(0)
    got: list[Permit] = []
    async with anyio.create_task_group() as outer, anyio.create_task_group() as tg:
        await in_line(tg, limiter, 0, got.append)
        await in_line(outer, limiter, 0, got.append)
        tg.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await settled()
        assert limiter.snapshot() == LimiterSnapshot(1, 1, None, None)
        first.release()
    assert len(got) == 1
    got[0].release()
    assert limiter.snapshot() == EMPTY


async def test_a_head_that_waits_for_its_bucket_is_cancelled():
    clock = Clock()
    limiter = Limiter("m", tokens_per_minute=600, clock=clock)
    (await limiter.acquire(10)).release()
    got: list[Permit] = []
    async with anyio.create_task_group() as outer, anyio.create_task_group() as tg:
        await in_line(tg, limiter, 1000, got.append)
        await in_line(outer, limiter, 1, got.append)
        clock.now += 0.2
        tg.cancel_scope.cancel()
    assert [p.waited_s for p in got] == pytest.approx([0.2])
    assert limiter.snapshot().token_level == pytest.approx(1.0)


async def test_cancelled_at_the_moment_of_admission():
    clock = Clock()
    limiter = Limiter(
        "m", max_concurrency=1, requests_per_minute=600, tokens_per_minute=600, clock=clock
    )
    first = await limiter.acquire(3)
    kept: list[Permit] = []
    async with anyio.create_task_group() as tg:
        await in_line(tg, limiter, 7, kept.append)
        first.release()
        # It is in, but has not run since.
        assert limiter.snapshot() == LimiterSnapshot(1, 0, 8, 0)
        tg.cancel_scope.cancel()
    if not kept:
        assert limiter.snapshot() == LimiterSnapshot(0, 0, 9, 7)
    for permit in kept:
        permit.release()
    assert limiter.snapshot().in_use == 0


@pytest.mark.parametrize("seed", range(8))
async def test_storms_of_cancellation_leave_nothing_behind(seed):
    rng = random.Random(seed)
    limiter = Limiter(
        "m", max_concurrency=3, requests_per_minute=600_000, tokens_per_minute=6_000_000
    )
    now = done = 0
    scopes: list[anyio.CancelScope] = []

    async def work() -> None:
        nonlocal now, done
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            permit = await limiter.acquire(rng.randrange(500))
            try:
                now += 1
                assert now <= 3
                for _ in range(rng.randrange(5)):
                    await anyio.lowlevel.checkpoint()
                permit.correct(rng.randrange(500))
                done += 1
            finally:
                now -= 1
                permit.release()

    async with anyio.create_task_group() as tg:
        for _ in range(150):
            tg.start_soon(work)
        for _ in range(60):
            for scope in rng.sample(scopes, min(len(scopes), 2)):
                scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert done > 0
    assert limiter.snapshot().in_use == limiter.snapshot().waiting == 0
    with anyio.fail_after(10):
        permits = [await limiter.acquire(0) for _ in range(3)]
    assert len(permits) == 3


def test_asyncios_own_cancellation_leaves_nothing_behind():
    limiter = Limiter("m", max_concurrency=2)
    rng = random.Random(7)

    async def work() -> None:
        permit = await limiter.acquire(0)
        try:
            await asyncio.sleep(0)
        finally:
            permit.release()

    async def main() -> None:
        tasks = [asyncio.create_task(work()) for _ in range(200)]
        for _ in range(50):
            rng.choice(tasks).cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert limiter.snapshot() == EMPTY


# --- many loops --------------------------------------------------------------------------


def run_threads(mains, *, timeout_s: float = 40) -> None:
    """Run each main on a loop and a thread of its own, and raise what one raised."""
    errors: list[BaseException] = []

    def run(main, backend: str) -> None:
        try:
            anyio.run(main, backend=backend)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in mains]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s)
    assert errors == []
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("rate", [None, 60_000])
def test_many_loops_share_one_limit(rate):
    limiter = Limiter("m", max_concurrency=3, requests_per_minute=rate)
    lock = threading.Lock()
    now = peak = done = 0

    async def work(rng: random.Random) -> None:
        nonlocal now, peak, done
        with anyio.move_on_after(0 if rng.random() < 0.2 else 30):
            permit = await limiter.acquire(0)
            try:
                with lock:
                    now += 1
                    peak = max(peak, now)
                await anyio.sleep(rng.random() * 0.002)
            finally:
                with lock:
                    now -= 1
                    done += 1
                permit.release()

    async def main(seed: int) -> None:
        rng = random.Random(seed)
        async with anyio.create_task_group() as tg:
            for _ in range(100):
                tg.start_soon(work, rng)

    run_threads((partial(main, i), ("asyncio", "trio")[i % 2]) for i in range(6))
    assert peak == 3
    assert done > 350
    assert limiter.snapshot().in_use == limiter.snapshot().waiting == 0


def test_a_loop_that_is_kept_busy_holds_up_nobody_elses_turn():
    limiter = Limiter("m", tokens_per_minute=6000)
    head_waits, other_done = threading.Event(), threading.Event()
    blocked = []

    async def busy() -> None:
        (await limiter.acquire(100)).release()
        async with anyio.create_task_group() as tg:
            await in_line(tg, limiter, 10, lambda _: None)
            head_waits.set()
            # It is at the head and would have to look at the clock.
            blocked.append(other_done.wait(20))

    async def other() -> None:
        await anyio.to_thread.run_sync(head_waits.wait)
        (await limiter.acquire(1)).release()
        other_done.set()

    run_threads([(busy, "asyncio"), (other, "trio")])
    assert blocked == [True]


class _Abandoned:
    """An asyncio loop that waits for a limiter, and is closed over its tasks' heads."""

    def __init__(self, limiter: Limiter, tasks: int) -> None:
        self.loop = asyncio.new_event_loop()
        # Tasks that are destroyed while pending are the subject here.
        self.loop.set_exception_handler(lambda _loop, _context: None)
        self.tasks = [self.loop.create_task(limiter.acquire(0)) for _ in range(tasks)]
        self.loop.run_until_complete(asyncio.sleep(0.01))

    def close(self) -> None:
        self.loop.close()
        self.tasks.clear()


async def test_waiters_of_a_closed_loop_are_passed_over():
    limiter = Limiter("m", max_concurrency=1)
    first = await limiter.acquire(0)
    abandoned = await anyio.to_thread.run_sync(_Abandoned, limiter, 5)
    got: list[Permit] = []
    async with anyio.create_task_group() as tg:
        await in_line(tg, limiter, 0, got.append)
        assert limiter.snapshot().waiting == 6
        abandoned.close()
        first.release()
    got[0].release()
    del abandoned
    gc.collect()
    assert limiter.snapshot() == EMPTY


async def test_a_head_whose_loop_was_closed_does_not_stop_the_clock():
    limiter = Limiter("m", requests_per_minute=600)
    for _ in range(10):
        (await limiter.acquire(0)).release()
    abandoned = await anyio.to_thread.run_sync(_Abandoned, limiter, 1)
    abandoned.close()
    with anyio.fail_after(10):
        permit = await limiter.acquire(0)
    permit.release()
    del abandoned
    gc.collect()
    assert limiter.snapshot().in_use == limiter.snapshot().waiting == 0


async def test_a_head_whose_loop_is_closed_while_all_wait_is_noticed():
    limiter = Limiter("m", requests_per_minute=600)
    for _ in range(10):
        (await limiter.acquire(0)).release()
    abandoned = await anyio.to_thread.run_sync(_Abandoned, limiter, 2)
    got: list[Permit] = []
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tg:
            await in_line(tg, limiter, 0, got.append)
            abandoned.close()
    got[0].release()
    del abandoned
    gc.collect()
    assert limiter.snapshot().in_use == limiter.snapshot().waiting == 0


async def test_a_loop_closed_between_admission_and_waking_gives_back_its_place():
    limiter = Limiter("m", max_concurrency=1)
    first = await limiter.acquire(0)
    abandoned = await anyio.to_thread.run_sync(_Abandoned, limiter, 1)
    first.release()
    assert limiter.snapshot().in_use == 1
    abandoned.close()
    del abandoned, first
    gc.collect()
    # Its coroutine was closed by the garbage collector, and so gave up.
    assert limiter.snapshot() == EMPTY


async def test_who_cannot_be_woken_any_more_loses_its_place_to_the_next(monkeypatch):
    limiter = Limiter("m", max_concurrency=1, requests_per_minute=600_000)
    first = await limiter.acquire(0)
    got: list[int] = []
    tried: list[Sleeper] = []
    wake = Sleeper.wake

    def refuse_the_first(sleeper: Sleeper) -> bool:
        tried.append(sleeper)
        return sleeper is not tried[0] and wake(sleeper)

    async with anyio.create_task_group() as tg:
        await in_line(tg, limiter, 0, lambda _: got.append(0))
        await in_line(tg, limiter, 0, lambda _: got.append(1))
        monkeypatch.setattr(Sleeper, "wake", refuse_the_first)
        first.release()
        await settled()
        assert got == [1]
        assert limiter.snapshot().in_use == 1
        tg.cancel_scope.cancel()
    assert limiter.snapshot().waiting == 0


def test_a_trio_run_that_ends_cannot_be_woken():
    sleeper = trio.run(_sleeper)
    assert sleeper.wake() is False
    closed = asyncio.run(_sleeper())
    assert closed.wake() is False
    assert closed.lost


async def _sleeper() -> Sleeper:
    return Sleeper()


async def test_a_sleeper_woken_while_awake_does_not_sleep():
    sleeper = Sleeper()
    assert sleeper.wake()
    await settled()
    with anyio.fail_after(5):
        await sleeper.sleep(float("inf"))
    await sleeper.sleep(0.001)


# --- the queue by itself -----------------------------------------------------------------


class FakeSleeper:
    """As much of a sleeper as the queue asks for."""

    def __init__(self, loop: str) -> None:
        self.loop = loop
        self.lost = False


events = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.integers(0, 40)),
        st.tuples(st.sampled_from(["give_up", "release", "look"]), st.integers(0, 50)),
        st.tuples(st.just("correct"), st.integers(0, 80)),
        st.tuples(st.just("pass"), st.integers(0, 30)),
        st.tuples(st.just("close"), st.integers(0, 2)),
    ),
    max_size=80,
)


@settings(max_examples=300)
@given(
    st.sampled_from([None, 1, 2, 3]),
    st.sampled_from([None, 60.0, 300.0]),
    st.sampled_from([None, 600.0, 1200.0]),
    events,
)
def test_the_queue_lets_in_whoever_may_go_and_nobody_else(slots, requests, tokens, happenings):
    request_bucket = None if requests is None else Bucket(requests)
    token_bucket = None if tokens is None else Bucket(tokens)
    queue = Queue(slots, request_bucket, token_bucket)
    now = 100.0
    every: list[Entry] = []
    waiting: list[Entry] = []
    inside: list[Entry] = []
    closed: set[str] = set()
    generation = [0, 0, 0]

    def check() -> None:
        lost = [e for e in waiting if e.sleeper.loop in closed]
        for entry in lost:
            waiting.remove(entry)
        # Whoever is in came from the front, one after the other.
        while waiting and waiting[0].admitted:
            inside.append(waiting.pop(0))
        assert not any(entry.admitted for entry in waiting)
        assert queue.in_use == len(inside)
        assert queue.waiting == len(waiting)
        assert slots is None or len(inside) <= slots
        assert all(entry in queue.to_wake for entry in inside)
        if not waiting:
            return
        delays = queue._delays_of(waiting[0], now)
        assert any(delays)
        firsts = {entry.sleeper.loop: entry for entry in reversed(waiting)}.values()
        if not delays[0]:
            # On each loop somebody looks again, as soon as the head may go.
            assert all(entry.until <= now + max(delays) + 1e-9 for entry in firsts)

    for what, number in happenings:
        if what == "pass":
            now += number / 10
            continue
        if what == "join":
            loop = number % 3
            entry = Entry(number, FakeSleeper(f"{loop}.{generation[loop]}"))
            every.append(entry)
            waiting.append(entry)
            queue.join(entry, now)
        elif what == "close":
            name = f"{number}.{generation[number]}"
            generation[number] += 1
            closed.add(name)
            for entry in waiting:
                entry.sleeper.lost |= entry.sleeper.loop == name
        elif what == "correct" and inside:
            queue.correct(inside[number % len(inside)], number, now)
        elif what == "look" and waiting:
            queue.look(waiting[number % len(waiting)], now)
        elif what == "release" and inside:
            queue.release(inside.pop(number % len(inside)), now)
        elif what == "give_up" and every:
            entry = every[number % len(every)]
            queue.give_up(entry, now)
            for held in (waiting, inside):
                if entry in held:
                    held.remove(entry)
        queue.settle(now)
        check()
    # When all have let go, everyone left passes in the end, by looking when told to.
    for _ in range(len(every) + 1):
        for entry in inside:
            queue.release(entry, now)
        inside.clear()
        queue.settle(now)
        check()
        for _ in range(3):
            if waiting and not inside:
                # The first alarm may date from when someone else was at the head.
                now = waiting[0].until
                queue.look(waiting[0], now)
                queue.settle(now)
                check()
        assert inside or not waiting
    assert queue.waiting == 0
    assert queue._lines == {}
