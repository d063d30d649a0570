"""The hub: which resources it checks, what it shares, and that it gives no key away."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hush.errors import ResourceError
from hush.providers.hub import ResourceHub
from hush.providers.resource_key import PREFIX

SECRET = "sk-SECRETSECRETSECRET"
ENTRY = {"api_key": SECRET, "model": "gpt-4o"}
FILE = f"llm:a:\n  api_key: {SECRET}\n  model: gpt-4o\n"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("HUSH_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "resources.yaml"
    path.write_text(FILE)
    return path


def test_resources_are_returned_under_their_plain_names():
    hub = ResourceHub.from_mapping({"llm:a": ENTRY, "llm:b": ENTRY})
    assert list(hub.resolve(["llm:b", "a", "b"])) == ["b", "a"]
    assert hub.resolve(["a"])["a"].name == "a"
    assert hub.names == ("a", "b")
    assert hub.resolve([]) == {}


def test_a_resource_is_checked_once():
    hub = ResourceHub.from_mapping({"llm:a": ENTRY})
    assert hub.resolve(["a"])["a"] is hub.resolve(["llm:a"])["a"]


def test_only_wanted_resources_are_checked():
    hub = ResourceHub.from_mapping({"llm:a": ENTRY, "llm:b": {"api_key": "${HUSH_UNSET}"}})
    assert hub.resolve(["a"])
    with pytest.raises(ResourceError) as caught:
        hub.resolve(["a", "b"])
    assert caught.value.keys == ("llm:b.api_key", "llm:b.model")
    assert caught.value.source == "ResourceHub.from_mapping"


@pytest.mark.parametrize("prefix", ["", "llm:"])
def test_a_resource_that_does_not_exist(prefix):
    hub = ResourceHub.from_mapping({"llm:gpt-4o": ENTRY, "llm:mini": ENTRY})
    with pytest.raises(ResourceError) as caught:
        hub.resolve([f"{prefix}gpt-4"], used_by={"llm:gpt-4": "graph.rank"})
    assert str(caught.value) == (
        "ResourceHub.from_mapping: llm:gpt-4: there is no such resource, which node 'graph.rank' "
        "uses. Did you mean 'llm:gpt-4o'? There are: llm:gpt-4o, llm:mini. "
        "Add llm:gpt-4, or change resource_key"
    )
    with pytest.raises(
        ResourceError, match=r"llm:zzz: does not exist. There are: llm:gpt-4o, llm:"
    ):
        hub.resolve(["zzz"])


@pytest.mark.parametrize("key", ["gpt-4o", "llm:", "LLM:x", "", 5, None])
def test_keys_of_a_mapping_have_the_prefix(key):
    with pytest.raises(ResourceError, match="expected a key such as 'llm:gpt-4o'; write 'llm:"):
        ResourceHub.from_mapping({key: ENTRY})


def test_a_mapping_is_copied():
    mapping = {"llm:a": {**ENTRY, "headers": {"A": "x"}, "params": {"stop": ["x"]}}}
    hub = ResourceHub.from_mapping(mapping)
    mapping["llm:a"]["headers"]["A"] = "y"
    mapping["llm:a"]["params"]["stop"].append("y")
    mapping["llm:a"]["model"] = "other"
    mapping["llm:b"] = ENTRY
    found = hub.resolve(["a"])["a"]
    assert (found.model, found.headers, found.params) == ("gpt-4o", {"A": "x"}, {"stop": ["x"]})
    assert hub.names == ("a",)


# --- the environment ---------------------------------------------------------------------


def test_a_changed_variable_makes_another_resource(monkeypatch):
    hub = ResourceHub.from_mapping({"llm:a": {**ENTRY, "base_url": "${HUSH_URL:-http://one}"}})
    monkeypatch.delenv("HUSH_URL", raising=False)
    first, state = hub.resolve(["a"])["a"], hub.state("a", object)
    monkeypatch.setenv("HUSH_URL", "http://one")
    assert hub.resolve(["a"])["a"] is first
    assert hub.state("a", object) is state
    monkeypatch.setenv("HUSH_URL", "http://two")
    assert hub.resolve(["a"])["a"].base_url == "http://two"
    assert hub.state("a", object) is not state


# --- the default --------------------------------------------------------------------------


def test_the_default_is_one_in_the_process(file, tmp_path, monkeypatch):
    hub = ResourceHub.default()
    assert hub.source == str(file)
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert ResourceHub.default() is hub
    monkeypatch.setenv("HUSH_CONFIG", str(file))
    assert ResourceHub.default() is hub
    assert ResourceHub.from_file(file) is not hub


def test_another_content_makes_another_default(file):
    hub = ResourceHub.default()
    file.write_text(FILE.replace("gpt-4o", "other"))
    other = ResourceHub.default()
    assert other is not hub
    assert other.resolve(["a"])["a"].model == "other"
    file.write_text(FILE)
    assert ResourceHub.default() is hub


def test_the_same_content_elsewhere_is_another_default(file, tmp_path, monkeypatch):
    hub = ResourceHub.default()
    copied = tmp_path / "copied.yaml"
    copied.write_text(FILE)
    monkeypatch.setenv("HUSH_CONFIG", str(copied))
    assert ResourceHub.default() is not hub


def test_threads_get_the_same_default(file):
    barrier = threading.Barrier(8)

    def ask(_):
        barrier.wait()
        return ResourceHub.default()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1


def test_no_file_at_all(tmp_path):
    with pytest.raises(ResourceError) as caught:
        ResourceHub.default()
    text = str(caught.value)
    assert "HUSH_CONFIG is not set" in text
    assert str(tmp_path) in text
    assert "\n\nllm:gpt-4o:\n  api_key: ${OPENAI_API_KEY}\n  model: gpt-4o\n\n" in text
    assert caught.value.source == "resources.yaml"


def test_a_broken_default_is_tried_again(file):
    file.write_text("")
    with pytest.raises(ResourceError, match="is empty"):
        ResourceHub.default()
    file.write_text(FILE)
    assert ResourceHub.default().names == ("a",)


# --- what is shared -------------------------------------------------------------------------


def test_state_is_one_for_each_hub_and_resource():
    one, other = ResourceHub.from_mapping({"llm:a": ENTRY}), ResourceHub.from_mapping({})
    state = one.state("a", object)
    assert one.state("llm:a", object) is state
    assert one.state("b", object) is not state
    assert other.state("a", object) is not state


def test_state_may_be_none_and_is_made_once():
    hub = ResourceHub.from_mapping({})
    made = []
    for _ in range(2):
        assert hub.state("a", lambda: made.append(1)) is None
    assert made == [1]


def test_a_factory_that_raises_leaves_nothing():
    hub = ResourceHub.from_mapping({})
    with pytest.raises(ZeroDivisionError):
        hub.state("a", lambda: 1 // 0)
    assert hub.state("a", lambda: 5) == 5


def test_a_factory_may_ask_the_hub():
    hub = ResourceHub.from_mapping({"llm:a": ENTRY})
    assert hub.state("a", lambda: hub.state("b", lambda: hub.resolve(["a"])["a"].name)) == "a"


def test_threads_share_state():
    hub = ResourceHub.from_mapping({"llm:a": ENTRY})
    barrier = threading.Barrier(16)
    made = []

    def factory():
        made.append(object())
        return made[-1]

    def ask(_):
        barrier.wait()
        return hub.state("a", factory), hub.resolve(["a"])["a"]

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(16)))
    assert len(made) == 1
    assert {id(state) for state, _ in found} == {id(made[0])}
    assert len({id(resource) for _, resource in found}) == 1


# --- what is shown --------------------------------------------------------------------------


def test_repr_shows_names_and_source(file):
    hub = ResourceHub.from_file(file)
    hub.resolve(["a"])
    assert repr(hub) == f"<ResourceHub {str(file)!r}: a>"
    assert "no resources" in repr(ResourceHub.from_mapping({}))


def test_a_hub_is_not_pickled():
    hub = ResourceHub.from_mapping({"llm:a": ENTRY})
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="holds API keys; load the configuration in the other"):
            copied(hub)


def test_the_prefix_is_that_of_the_resource():
    hub = ResourceHub.from_mapping({f"{PREFIX}a": ENTRY})
    assert hub.resolve([f"{PREFIX}a"])["a"].key == f"{PREFIX}a"
    assert hub.state(f"{PREFIX}a", list) is hub.state("a", list)


def test_importing_the_hub_needs_neither_pydantic_nor_yaml():
    # The package itself is left out: what else it imports is not the hub's doing.
    code = (
        "import sys, types, hush\n"
        "package = types.ModuleType('hush.providers')\n"
        "package.__path__ = [hush.__path__[0] + '/providers']\n"
        "sys.modules['hush.providers'] = package\n"
        "import hush.providers.hub\n"
        "sys.exit(bool({'pydantic', 'yaml', 'openai'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
