"""The thread that sends: the oldest first, each batch until it is over.

One of all processes that share a spool sends what is on the disk; who that is the lock
says. What could not be put on the disk is sent from memory by the process that has it. A
signal that fails holds up only itself. Knows HTTP's answers, not HTTP.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

from hush.export.backoff import Backoff
from hush.export.counts import counts
from hush.export.lock import SenderLock, lockable
from hush.export.options import SIGNALS
from hush.export.picker import Picker, told
from hush.export.place import SpoolError
from hush.export.receiver import Receiver

if TYPE_CHECKING:
    from hush.export.batch_file import Batch, Payload
    from hush.export.memory import Memory
    from hush.export.options import Signal
    from hush.export.receiver import Answer

__all__ = ("Sender",)

POLL_S: Final = 1.0
"""How often somebody looks for batches of other processes, and for the lock, in seconds."""
TIDY_S: Final = 5.0
"""How often old batches are looked for."""
STUCK_S: Final = 0.5
"""How long a thread that is to end may still be busy with files, in seconds."""
PATIENCE: Final = 3
"""How often in a row the receiver faults before a batch is blamed for it."""
FAULTS: Final = frozenset(("500", "501", "502", "504", "505", "507"))
"""Answers by which a receiver may mean the batch. Not 503: it has no time, for nothing."""
MOST_GRACES: Final = 10
"""Times the wait at the end of the process that it may take as long as batches are taken."""


class Sender:
    """Sends what is in a spool, and what would be there if the disk took it.

    Attributes:
        backoffs: of each signal how it goes.
    """

    def __init__(self, memory: Memory) -> None:
        """Start nothing yet.

        Args:
            memory: what is on its way, its spool and its routes.
        """
        self.backoffs: dict[Signal, Backoff] = {signal: Backoff() for signal in SIGNALS}
        self._memory = memory
        self._spool = memory.spool
        self._complaints = memory.complaints
        self._receiver = Receiver()
        self._lock = SenderLock(self._spool.folder)
        self._wake = threading.Event()
        self._until: float | None = None
        self._latest = self._grace_s = 0.0
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._picker = Picker(memory)
        self._took_s = 0.0
        self._next_tidy = 0.0
        self._next_lock = 0.0
        self._busy = False
        self._asking = False
        self._said: dict[str, object] | None = None

    # --- called from other threads ---------------------------------------------------------------

    def start(self) -> bool:
        """Start the thread where it does not run yet, and say whether it does."""
        with self._starting:
            if self._thread is not None:
                return True
            if self._until is not None:
                return False
            thread = threading.Thread(target=self._work, name="hush spool sender", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread to be had, or the interpreter is ending
                return False
            self._thread = thread
            return True

    def wake(self) -> None:
        """Say that there is something to send."""
        self._wake.set()

    def close(self, wait_s: float) -> None:
        """Send on for as long as that succeeds, within bounds, then stop.

        Args:
            wait_s: how long one answer is waited for, in seconds; ten times that is the most
                in all.
        """
        with self._starting:
            now = time.monotonic()
            self._grace_s, self._latest = wait_s, now + MOST_GRACES * wait_s
            self._until = until = now + wait_s
            thread = self._thread
        self._wake.set()
        while thread is not None and thread.is_alive():
            left = until - time.monotonic()
            if left <= 0 and until == self._until:
                return
            thread.join(max(left, 0.0))
            until = self._until

    def stuck(self) -> bool:
        """Say whether, after :meth:`close`, the thread does not come back from the disk."""
        give_up = time.monotonic() + STUCK_S
        while self._thread is not None and self._thread.is_alive() and not self._asking:
            if time.monotonic() >= give_up:
                return True
            self._thread.join(STUCK_S / 20)
        return False

    def forget(self) -> None:
        """Leave lock and connections to the parent, in a forked child."""
        self._lock.forget()
        self._receiver.forget()

    @property
    def failing(self) -> bool:
        """Whether the last request of any signal failed."""
        return any(backoff.failures for backoff in self.backoffs.values())

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return not self._busy

    def leaves(self, name: str) -> bool:
        """Say whether a batch is left alone, because it cannot be read here."""
        return self._picker.leaves(name)

    def postpones(self, name: str) -> bool:
        """Say whether a batch is passed over, because the receiver faults on it."""
        return self._picker.postpones(name)

    @property
    def holds(self) -> bool:
        """Whether it is this process that sends what is on the disk."""
        return self._lock.taken

    # --- the thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        # Whoever instruments HTTP must not make spans of our requests: they would never end.
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # noqa: FBT003  # the value of a key
        try:
            while not self._over():
                # Before looking: what comes while it looks wakes it again.
                self._wake.clear()
                try:
                    worked = self._step()
                except Exception as error:  # noqa: BLE001  # nothing here may end the export
                    self._complaints.warn(
                        "the spool's sender failed; it goes on", error=told(error)
                    )
                    worked = False
                self._busy = False
                if worked:
                    continue
                if self._until is not None:
                    return
                self._wake.wait(self._pause_s())
        finally:
            self._lock.say({})
            self._lock.release()
            self._receiver.close()

    def _over(self) -> bool:
        # At the end no request is begun that will hardly be answered in time: the receiver would
        # have the batch, and so would the next process.
        until = self._until
        return until is not None and time.monotonic() + self._took_s > until

    def _pause_s(self) -> float:
        now = time.monotonic()
        waits = [one.until - now for one in self.backoffs.values() if one.until > now]
        return max(min([POLL_S, *waits]), 0.01)

    def _step(self) -> bool:
        """Send one request where there is one to send; say so."""
        self._busy = True
        self._memory.store()
        now = time.monotonic()
        ready = {signal for signal, one in self.backoffs.items() if one.ready(now)}
        if self._hold(now):
            self._tidy(now)
            group, payload = self._picker.pick(ready, ending=self._until is not None)
            if payload is not None:
                self._settle(group, payload, self._sent(payload))
                return True
        payload = self._memory.take(ready)
        if payload is None:
            return False
        self._settle_memory(payload, self._sent(payload))
        return True

    def _hold(self, now: float) -> bool:
        if self._lock.held:
            return True
        if not lockable() or (now < self._next_lock and self._until is None):
            return False  # at the end there is no other time
        self._next_lock = now + POLL_S
        try:
            self._spool.make_ready()
            if not self._lock.take():
                return False
        except (OSError, SpoolError):  # said where batches are written
            return False
        self._said = None
        self._spool.clean()
        return True

    def _tidy(self, now: float) -> None:
        options = self._spool.options
        content = self._spool.content()
        limit = options.max_bytes if options.when_full == "drop_oldest" else None
        full = limit is not None and content.disk_bytes > limit
        if not full and now < self._next_tidy:
            return
        self._next_tidy = now + TIDY_S
        self._memory.evict(limit)

    # --- sending ---------------------------------------------------------------------------------

    def _sent(self, payload: Payload) -> Answer:
        began = time.monotonic()
        self._asking = True
        answer = self._receiver.send(self._memory.routes[payload.signal], payload)
        self._asking = False
        if answer.date_s is not None:
            if not self._spool.ages.vouched:
                self._next_tidy = 0.0  # from now on it is known what is too old
            self._spool.ages.vouch(answer.date_s)
        self._took_s = time.monotonic() - began
        backoff = self.backoffs[payload.signal]
        if answer.kind == "again":
            counts.fail(payload.signal, answer.error)
            first = not backoff.failures
            backoff.fail(answer, time.monotonic())
            if first:
                self._complaints.warn(
                    f"the receiver does not take {payload.signal}; they wait and are sent again",
                    error=answer.message,
                    spool=str(self._spool.folder),
                )
        else:
            failed_s = backoff.succeed()
            if answer.kind == "refused":
                counts.fail(payload.signal, answer.error)
            elif failed_s is not None:
                self._complaints.tell(
                    f"the receiver takes {payload.signal} again", after_s=round(failed_s, 1)
                )
        self._say()
        return answer

    def _say(self) -> None:
        """Write down how it goes, for other processes."""
        now, wall = time.monotonic(), time.time()
        failing = {
            signal: {
                "error": one.answer.error,
                "message": one.answer.message,
                "next_s": round(min(wall + one.until - now, 1e12), 3),
            }
            for signal, one in self.backoffs.items()
            if one.answer is not None
        }
        said: dict[str, object] = {"pid": os.getpid(), "failing": failing}
        if said != self._said:
            self._said = said
            self._lock.say(said)

    def _settle(self, group: list[Batch], payload: Payload, answer: Answer) -> None:
        if answer.kind == "again":
            if answer.error == "timeout" and len(group) > 1:
                # Perhaps the way is too slow for so much at once.
                self._picker.part(group)
            elif answer.error in FAULTS and self.backoffs[payload.signal].failures >= PATIENCE:
                self._picker.blame(group)
            return
        if answer.kind == "refused" and len(group) > 1:
            # One of them may be at fault: each is sent by itself.
            self._picker.part(group)
            return
        self._picker.finish(group)
        if answer.kind == "refused":
            if self._picker.set_aside(group[0], "rejected"):
                self._refused(payload.signal, payload.count, answer)
            return
        for batch in group:
            try:
                self._spool.remove(batch)
            except OSError as error:
                # It must not be sent again, as long as somebody is here who knows.
                self._picker.leave(batch)
                self._complaints.warn(
                    "a batch that was sent cannot be removed; a later process will send it again",
                    error=told(error),
                )
        self._delivered(payload, answer)

    def _settle_memory(self, payload: Payload, answer: Answer) -> None:
        if answer.kind == "again":
            self._memory.give_back(payload)
            return
        self._memory.done()
        if answer.kind == "refused":
            self._refused(payload.signal, payload.count, answer)
        else:
            self._delivered(payload, answer)

    def _delivered(self, payload: Payload, answer: Answer) -> None:
        if self._until is not None:
            self._until = min(time.monotonic() + self._grace_s, self._latest)
        rejected = min(answer.rejected, payload.count)
        counts.send(payload.signal, payload.count - rejected)
        if rejected:
            counts.drop(payload.signal, "partial_success", rejected)
        if rejected or answer.message:
            self._complaints.warn(
                f"the receiver did not take all {payload.signal} of a request",
                rejected=rejected,
                of=payload.count,
                message=answer.message,
            )

    def _refused(self, signal: Signal, count: int, answer: Answer) -> None:
        counts.drop(signal, "rejected", count)
        self._complaints.warn(
            f"the receiver refused {signal}; they are not sent again",
            count=count,
            answer=answer.message,
            spool=str(self._spool.folder),
        )
