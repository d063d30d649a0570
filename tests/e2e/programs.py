"""Real programs for the tests: started on loopback at free ports, waited for, ended by id."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest

START_TIMEOUT_S = 40.0
POLL_S = 0.05
Found = TypeVar("Found")


def find_program(variable: str, *, command: str = "", compiled: str = "") -> Path | None:
    """Return what a variable names, else what is on PATH, else what deploy/ has compiled.

    Args:
        variable: name of the variable.
        command: its name on PATH; empty where that one may be another program.
        compiled: its place in the cache folder of Hush; empty where nothing compiles it.

    Returns:
        The program; None where there is none.
    """
    named = os.environ.get(variable)
    if named:
        # A wrong name is an error when it is run; falling back would test something else.
        return Path(named)
    on_path = command and shutil.which(command)
    if on_path:
        return Path(on_path)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    made = cache / "hush" / compiled
    return made if compiled and made.is_file() else None


def require(found: Found | None, what: str) -> Found:
    """Return the program; without it skip, or fail where HUSH_REQUIRE_BACKENDS=1 demands it."""
    if found is not None:
        return found
    if os.environ.get("HUSH_REQUIRE_BACKENDS") == "1":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


class StartError(AssertionError):
    """A program did not come up; the message ends with the end of its log."""


class Program:
    """One process, whose output goes into a file of its folder; use as a context manager."""

    stop_timeout_s = 15.0

    def __init__(self, name: str, folder: Path | None = None) -> None:
        """Start nothing yet.

        Args:
            name: of its log.
            folder: for what it writes; None for one of its own, which goes with it.
        """
        self.name = name
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._ending = contextlib.ExitStack()

    @property
    def folder(self) -> Path:
        assert self._folder is not None, "it has one when it is entered"
        return self._folder

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    def begin(self) -> None:
        """Write what it reads and start it; also again, after it was stopped or killed."""
        raise NotImplementedError

    def start(self, command: list[str], variables: Mapping[str, str], health: str) -> None:
        """Start the process and wait until a URL answers well.

        Raises:
            StartError: it ended, or did not answer in time.
        """
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, **variables},
            )
        give_up = time.monotonic() + START_TIMEOUT_S
        while not answers(health):
            code = self.process.poll()
            if code is not None or time.monotonic() > give_up:
                reason = "not healthy in time" if code is None else f"exit code {code}"
                self.stop()
                tail = self.log.read_text(errors="replace")[-3000:]
                raise StartError(f"{command[0]}: {reason}\n{tail}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End it as its supervisor would; by force only where that does not help."""
        process, self.process = self.process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(self.stop_timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self) -> None:
        """End it as the kernel would when memory is short: with -9, nothing written."""
        process, self.process = self.process, None
        assert process is not None
        process.kill()
        process.wait()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as ending:
            if self._folder is None:
                own = tempfile.TemporaryDirectory(prefix=f"hush-{self.name}-")
                self._folder = Path(ending.enter_context(own))
            ending.callback(self.stop)
            self.begin()
            self._ending = ending.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()


def wait_until(condition: Any, what: str, timeout_s: float = 30.0) -> Any:
    """Return what the condition gives as soon as that is true; fail where it never is."""
    give_up = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < give_up, f"not within {timeout_s:g} s: {what}"
        time.sleep(POLL_S)


def free_ports(count: int) -> list[int]:
    """Choose ports that nobody listens on; all held open at once, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


# A proxy that the environment names is not for loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str, timeout_s: float = 10.0, **headers: str) -> bytes:
    request = urllib.request.Request(url, headers=headers)
    with _opener.open(request, timeout=timeout_s) as response:
        body: bytes = response.read()
        return body


def answers(url: str) -> bool:
    try:
        fetch(url)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    except OSError:
        return False
    return True
