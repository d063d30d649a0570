"""Examples run as a newcomer runs them: in a process of their own, at 80 columns."""

from __future__ import annotations

import importlib
import os
import runpy
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from hush.testing import ScriptedLLMServer

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT_S = 50
# What the user's environment says of terminals, telemetry and models is none of the tests' business.
OTHERS = ("OTEL_", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PYTHON", "OPENAI_", "HUSH_")
SAID_OF_SCRIPTED = "Answers and prices are scripted; OPENAI_API_KEY or HUSH_CONFIG gives real ones."


def environment(**variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    return {**kept, "PYTHONIOENCODING": "utf-8", **variables}


def run_example(name, *arguments, code=0, cwd=None, **variables):
    """Run an example without a terminal and check what holds of every output."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env=environment(**variables),
        cwd=cwd,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert max(map(len, done.stdout.splitlines()), default=0) <= 80
    assert "\x1b" not in done.stdout
    return done


def complaints(done):
    """Return what an example says on stderr, without what a busy machine makes it say.

    Where other processes take the processor away from the event loop, the watchdog says so;
    where they take it only now and then, it may think that a node held it up.
    """
    lines = done.stderr.splitlines(keepends=True)
    said = ("a node holds up the event loop", "no node held it up")
    return "".join(line for line in lines if not any(text in line for text in said))


@contextmanager
def real_provider(folder, module, *models, **fields):
    """A provider as real as a test can have it, and the file of resources that names it.

    It is a server that speaks the API and answers what the example's own script says; the
    example knows nothing of that: it has a file, and in it a variable with the key.

    Args:
        folder: where the file is written.
        module: file of the example that has the script.
        models: names of the models that the provider has.
        fields: further fields of the first resource.

    Yields:
        The server and the variables of the environment.
    """
    script, models_of = _load(module)
    with ScriptedLLMServer(api_key="sk-secret", strict_models=True) as server:
        lines = []
        for number, model in enumerate(models):
            lines += [
                f"llm:res-{number}:",
                "  api_key: ${PROVIDER_KEY}",
                f"  base_url: {server.base_url}",
                f"  model: {model}",
                *(f"  {name}: {value}" for name, value in fields.items()),
            ]
        # Nobody asks for this one, so nobody minds that its key is not there.
        lines += ["llm:unused:", "  api_key: ${NO_SUCH_VARIABLE}", "  model: x"]
        path = folder / "my-resources.yaml"
        path.write_text("\n".join(lines))
        large, small, other = (models[min(at, len(models) - 1)] for at in range(3))
        script(server, models_of(large, small, other, None, {}))
        names = ",".join(f"res-{number}" for number in range(len(models)))
        yield server, names, {"HUSH_CONFIG": str(path), "PROVIDER_KEY": "sk-secret"}


def _load(module):
    """Return an example's script, and what it takes; leave no module behind."""
    before = set(sys.modules)
    sys.path.insert(0, str(EXAMPLES))
    try:
        script = runpy.run_path(str(EXAMPLES / module))["script"]
        return script, importlib.import_module("models").Models
    finally:
        sys.path.remove(str(EXAMPLES))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(EXAMPLES)):
                del sys.modules[name]
