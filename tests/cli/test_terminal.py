"""hush in a terminal: progress that stands still and goes away, colours, signals in between."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time

import pytest

from tests.cli.commands import FLOWS, TIMEOUT_S, Commands, environment, program

pty = pytest.importorskip("pty", reason="needs a terminal of its own")

SLOW = """
with GraphNode(name="nightly") as nightly:
    with MapNode(name="pages", inputs={"page": Each(range(40))}, max_concurrency=4) as pages:
        got = fetch(inputs={"page": PARENT["page"]}, outputs={"words": PARENT, "error": PARENT})
        START >> got >> END
    wait = CodeNode(name="wait", code_fn=lambda: anyio.sleep(1))
    START >> [pages, wait] >> END
"""


class Terminal:
    """A command in a terminal of 80 columns."""

    def __init__(self, hush, *arguments, **variables):
        import fcntl
        import struct
        import termios

        self.descriptor, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 80, 0, 0))
        self.process = subprocess.Popen(
            [*program(), *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=hush.folder,
            env=environment(hush.store, TERM="xterm-256color", **variables),
            start_new_session=True,
        )
        os.close(theirs)
        self.raw = b""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self):
        while True:
            try:
                chunk = os.read(self.descriptor, 65_536)
            except OSError:  # Linux's way to say that the other end is closed
                return
            if not chunk:
                return
            self.raw += chunk

    def wait_for(self, text):
        end = time.monotonic() + TIMEOUT_S
        while text not in self.text():
            assert time.monotonic() < end, self.text()
            time.sleep(0.02)

    def finish(self, code=0):
        assert self.process.wait(TIMEOUT_S) == code, self.text()
        self._reading.join()
        os.close(self.descriptor)
        return self.text()

    def text(self):
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw.decode(errors="replace"))

    def coloured(self):
        return re.search(rb"\x1b\[[0-9;]*m", self.raw) is not None


@pytest.fixture
def hush(tmp_path):
    (tmp_path / "flows.py").write_text(FLOWS + SLOW)
    return Commands(tmp_path)


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}], ids=["colour", "no-colour"])
def test_progress(hush, variables):
    terminal = Terminal(hush, "run", "flows:nightly", **variables)
    text = terminal.finish(code=3)
    assert re.search(r"  pages  .* \d+ of 40 ended, 1 handled, 4 running", text)
    assert re.search(r"  wait  \d+ ms", text)
    assert "nightly partial in 1." in text
    assert max(len(line) for line in re.split(r"[\r\n]+", text)) <= 80
    assert terminal.coloured() == (not variables)
    assert terminal.raw.count(b"\x1b[?25l") == terminal.raw.count(
        b"\x1b[?25h"
    )  # the cursor is back


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs SIGUSR1")
def test_signals_do_not_break_what_is_shown(hush):
    terminal = Terminal(hush, "run", "flows:stuck")
    terminal.wait_for("  only  ")
    terminal.process.send_signal(signal.SIGUSR1)
    terminal.wait_for("  stuck.only runs, ")
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for("stopping; Ctrl-C again leaves at once")
    terminal.process.send_signal(signal.SIGINT)
    assert "left at once" in terminal.finish(code=130)


def test_what_a_node_prints_stands_above(hush):
    assert "printed by a node\r\n" in Terminal(hush, "run", "flows:talks").finish()


def test_a_trace_in_colour(hush):
    Terminal(hush, "run", "flows:fails").finish(code=1)
    for command in ("traces", "show", "why"):
        terminal = Terminal(hush, command)
        assert "fails" in terminal.finish()
        assert terminal.coloured()
    terminal = Terminal(hush, "show", "ffff")
    assert "error: no trace" in terminal.finish(code=4)
    assert b"\x1b[1;31merror:" in terminal.raw
