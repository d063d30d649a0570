"""Names to import: they are all there, each module says which, and importing stays cheap."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import hush


def module_names():
    """Every module of the package; none is left out because importing it fails."""

    def fail(name):
        raise AssertionError(f"{name} cannot be imported")

    found = pkgutil.walk_packages(hush.__path__, "hush.", onerror=fail)
    return ["hush", *(module.name for module in found if not module.name.endswith("__main__"))]


MODULES = module_names()


def is_package_without_names(module):
    return hasattr(module, "__path__") and not any(
        getattr(value, "__module__", None) == module.__name__ for value in vars(module).values()
    )


def sort_key(name):
    """CONSTANTS, then Classes, then functions: the order that ruff's RUF022 keeps."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


# --- each module by itself -------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_all_is_a_sorted_tuple_of_names_that_exist(name):
    module = importlib.import_module(name)
    names = getattr(module, "__all__", None)
    if names is None:
        # Packages whose __init__ is empty, lest a name hide a module.
        assert is_package_without_names(module)
        public = [one for one in vars(module) if not one.startswith("_")]
        assert all(isinstance(getattr(module, one), ModuleType) for one in public), public
        return
    assert type(names) is tuple
    assert list(names) == sorted(names, key=sort_key)
    assert len(set(names)) == len(names)
    for one in names:
        assert hasattr(module, one), one


@pytest.mark.parametrize("name", MODULES)
def test_star_imports_work(name):
    namespace = {}
    exec(f"from {name} import *", namespace)
    exported = getattr(importlib.import_module(name), "__all__", ())
    assert set(exported) <= namespace.keys()


@pytest.mark.parametrize("name", MODULES)
def test_no_name_hides_a_module(name):
    namespace = {}
    exec(f"import {name} as module", namespace)
    assert isinstance(namespace["module"], ModuleType)
    assert namespace["module"] is sys.modules[name]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_and_public_name_is_documented(name):
    module = importlib.import_module(name)
    if getattr(module, "__all__", None) is not None:
        assert module.__doc__
    for one in getattr(module, "__all__", ()):
        value = getattr(module, one)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert value.__doc__, one


# --- the names that users were told -------------------------------------------------------------

PATHS = {
    "hush.core": """
        Hush GraphNode CodeNode code_node BranchNode Branch MapNode ForLoopNode WhileLoopNode
        Each START END PARENT Quorum First Retry Node Ref RunResult
        HushError GraphError InputError NodeError RunError ConditionError JoinError
        LoopLimitError MapSourceError MissingValueError OutputError ToleranceError
        NodeTimeoutError RunNotFinishedError TelemetryError UnexpectedCancellationError
        Failure Problem ItemFailure
    """,
    "hush.core.nodes.iteration": "MapNode ForLoopNode WhileLoopNode",
    "hush.core.nodes.iteration.base": "Each",
    "hush.core.nodes.flow.branch_node": "BranchNode Branch",
    "hush.core.nodes.transform.code_node": "CodeNode code_node",
}


@pytest.mark.parametrize(
    ("path", "name"), [(path, name) for path, names in PATHS.items() for name in names.split()]
)
def test_the_paths_that_users_know(path, name):
    module = importlib.import_module(path)
    assert name in module.__all__
    value = getattr(module, name)
    front = importlib.import_module("hush.core")
    if name in front.__all__:
        assert value is getattr(front, name)


def test_every_error_can_be_imported_from_the_front():
    front = importlib.import_module("hush.core")
    errors = importlib.import_module("hush.errors")
    kinds = [name for name in errors.__all__ if name.endswith("Error")]
    assert len(kinds) > 10
    for name in kinds:
        assert name in front.__all__
        assert issubclass(getattr(front, name), front.HushError)


def test_every_event_can_be_imported_from_the_front():
    front = importlib.import_module("hush.core")
    events = importlib.import_module("hush.runtime.events")
    for name in events.__all__:
        if name.endswith(("Started", "Ended")) or name == "Event":
            assert getattr(front, name) is getattr(events, name)


def test_the_version():
    assert hush.__version__
    assert all(part.isdigit() for part in hush.__version__.split(".")[:2])


# --- what importing costs -------------------------------------------------------------------------


def loaded_by(statement):
    """The top names of all modules that a fresh interpreter has after a statement."""
    code = f"import sys; {statement}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return set(finished.stdout.split())


def test_the_bare_package_imports_next_to_nothing():
    loaded = loaded_by("import hush")
    assert "hush" in loaded
    assert not loaded & {"opentelemetry", "openai", "anyio", "asyncio", "trio", "structlog"}


def test_the_front_imports_no_client_and_no_other_loop():
    loaded = loaded_by("import hush.core")
    assert "hush" in loaded
    assert not loaded & {"openai", "httpx", "trio", "grpc"}


def test_naming_engines_loads_none_of_them():
    loaded = loaded_by("import hush.executors")
    assert not loaded & {"anyio", "asyncio", "trio", "distributed", "ray", "subprocess"}
    loaded = loaded_by(
        "from hush.executors import *; Processes(), DaskExecutor(), RayExecutor(), InProcess()"
    )
    assert "anyio" in loaded
    assert not loaded & {"trio", "dask", "distributed", "ray", "tornado", "cloudpickle"}


def test_the_insight_into_traces_imports_none_of_the_running_parts():
    code = "import hush.insight.timeline, hush.insight.waterfall"
    assert not loaded_by(code) & {"anyio", "asyncio", "trio", "openai"}


@pytest.mark.parametrize("name", MODULES)
def test_each_module_can_be_imported_first(name):
    assert "hush" in loaded_by(f"import {name}")


def test_the_front_imports_neither_the_sdk_nor_pydantic():
    """What only some need is imported when they do; whole names, as the API has the SDK's first."""
    code = "import sys, hush.core; print(*sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    loaded = finished.stdout.split()
    assert "hush.core" in loaded
    heavy = ("opentelemetry.sdk", "opentelemetry.exporter", "openai", "pydantic", "google.protobuf")
    assert [name for name in loaded if name.startswith(heavy)] == []
