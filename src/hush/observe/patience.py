"""Patience: calls of exporters that know no limit, waited for only so long."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from hush.log import log_fault

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("EXIT_S", "done_within")

EXIT_S: Final = 1.0
"""How long the last export of a signal may take when telemetry or the process ends."""


def done_within(timeout_s: float, act: Callable[[], object], what: str) -> bool:
    """Call in a thread that is left behind where it takes too long.

    Args:
        timeout_s: how long to wait, in seconds.
        act: what it raises is logged; None and what is true are a success.
        what: names the thread, and what could not be done, in the log.

    Returns:
        Whether it succeeded in time.
    """
    answers: list[bool] = []

    def work() -> None:
        try:
            answer = act()
        except Exception as error:  # noqa: BLE001  # telemetry never breaks a program
            log_fault("hush.telemetry", f"{what} failed", error)
        else:
            answers.append(answer is None or bool(answer))

    thread = threading.Thread(target=work, name=f"hush {what}", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is past starting threads
        return False
    thread.join(timeout_s)
    return bool(answers and answers[0])
