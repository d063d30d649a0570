"""A headless Chromium, driven through its DevTools protocol over a pipe.

Nothing but the standard library and the browser itself: with ``--remote-debugging-pipe``
it reads commands from file descriptor 3 and answers on 4, JSON texts that end in NUL.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

__all__ = ("BrowserError", "Chromium", "find_chromium")

PATIENCE_S = 40.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars=false",
    "--force-device-scale-factor=1",
    "--remote-debugging-pipe",
)
_HIGH = 40  # file descriptors from here on are not 3 and 4


class BrowserError(Exception):
    """The browser did not do what it was told."""


def find_chromium() -> str | None:
    """Return the browser: named in HUSH_CHROMIUM, or found on the path."""
    named = os.environ.get("HUSH_CHROMIUM")
    if named:
        return named
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


class Chromium:
    """One browser with one tab."""

    def __init__(self, program: str) -> None:
        self._folder = TemporaryDirectory(prefix="hush-chromium-", ignore_cleanup_errors=True)
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH) for fd in (theirs_in, theirs_out)]
        os.close(theirs_in)
        os.close(theirs_out)
        # A shell puts the pipes where the browser looks for them.
        command = f'exec "$@" 3<&{high[0]} 4>&{high[1]}'
        flags = [*FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", command, "chromium", program, *flags],
            pass_fds=high,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": self._folder.name},
        )
        for fd in high:
            os.close(fd)
        self._in, self._out = ours_in, ours_out
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session = ""
        self.problems: list[str] = []
        """Errors on the console, uncaught exceptions, violations of the page's policy."""
        self.requests: list[str] = []
        """Addresses that the page asked for."""

    def __enter__(self) -> Self:
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # the group that we started
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._folder.cleanup()

    # --- protocol ------------------------------------------------------------------------

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self._read(deadline, method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _read(self, deadline: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self._in], [], [], left)[0]
            chunk = os.read(self._in, 1 << 20) if ready else b""
            if not chunk:
                raise BrowserError(
                    f"{what}: no answer; the browser ended with {self._process.poll()}"
                )
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        facts = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                detail = facts["exceptionDetails"]
                text = detail.get("exception", {}).get("description") or detail["text"]
                self.problems.append(f"exception: {text}")
            case "Runtime.consoleAPICalled" if facts["type"] in {"error", "warning", "assert"}:
                said = [str(arg.get("value", arg.get("description"))) for arg in facts["args"]]
                self.problems.append(f"console.{facts['type']}: {' '.join(said)}")
            case "Log.entryAdded" if facts["entry"]["level"] in {"error", "warning"}:
                self.problems.append(f"log: {facts['entry']['text']}")
            case "Network.requestWillBeSent":
                self.requests.append(facts["request"]["url"])

    # --- what a person does -----------------------------------------------------------------

    def open(self, file: Path) -> None:
        """Open a file and wait until it has run."""
        self.problems.clear()
        self.requests.clear()
        self.send("Page.navigate", url=file.absolute().as_uri())
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Return the value of an expression."""
        result = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in result:
            raise BrowserError(f"{script}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.run(condition):
            if time.monotonic() > deadline:
                raise BrowserError(f"never true: {condition}; problems: {self.problems}")
            time.sleep(0.01)

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def size(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def dark(self, on: bool) -> None:
        value = "dark" if on else "light"
        self.send(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": value}],
        )

    def click(self, selector: str) -> None:
        """Click in the middle of an element, as a mouse does."""
        x, y = self.run(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)})"
            ".getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y)
        self.settle()

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        button = {} if kind in {"mouseMoved", "mouseWheel"} else {"button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **{**button, **more})

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def key(self, key: str, *, shift: bool = False) -> None:
        text = {"text": key} if len(key) == 1 else {}
        if key == "Enter":
            text = {"text": "\r"}
        code = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38}.get(key, 0)
        facts = {"key": key, "modifiers": 8 if shift else 0, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", **facts, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **facts)
        self.settle()

    def picture(self, file: Path) -> None:
        self.settle()
        data = self.send("Page.captureScreenshot", format="png")["data"]
        file.write_bytes(base64.b64decode(data))
