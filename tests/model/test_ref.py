"""References: what they record, what comes out once the value is there, what they refuse."""

from __future__ import annotations

import copy
import operator
import pickle
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hush.core import END, PARENT, START, CodeNode, Each, GraphNode, Ref
from hush.model.ref import MISSING, as_ref, parts, references_in
from hush.model.replay import compile_value, evaluate

X = PARENT["x"]


def value_of(ref, x):
    return evaluate(ref, {"x": x})


def step(name, **options):
    return CodeNode(name=name, code_fn=lambda **rest: {"y": 1}, **options)


@pytest.fixture
def nodes():
    with GraphNode(name="g"):
        return step("a"), step("b"), step("c")


# --- recording -----------------------------------------------------------------------------

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.and_,
    operator.or_,
    operator.xor,
]


@pytest.mark.parametrize("function", BINARY, ids=lambda function: function.__name__)
@pytest.mark.parametrize(("left", "right"), [(7, 3), (3, 7), (4, 4), (True, False)])
def test_binary_operators_give_what_python_gives(function, left, right):
    try:
        expected = function(left, right)
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            value_of(function(X, right), left)
        return
    for ref in (function(X, right), function(X, PARENT["y"]), function(left, PARENT["y"])):
        assert isinstance(ref, Ref)
        assert evaluate(ref, {"x": left, "y": right}) == expected


class Matrix:
    def __matmul__(self, other):
        return ("matmul", other)

    def __rmatmul__(self, other):
        return ("rmatmul", other)


def test_matrix_multiplication():
    assert value_of(X @ 2, Matrix()) == ("matmul", 2)
    assert value_of(2 @ X, Matrix()) == ("rmatmul", 2)


@pytest.mark.parametrize("function", [operator.neg, operator.pos, abs], ids=["-", "+", "abs"])
def test_unary_operators(function):
    assert value_of(function(X), -3) == function(-3)


def test_invert_is_not_on_truth_values_and_python_on_the_rest():
    assert value_of(~X, True) is False
    assert value_of(~X, False) is True
    assert value_of(~(X > 2), 3) is False
    assert value_of(~X, 5) == ~5


def test_and_and_or_combine_conditions():
    both = (X > 1) & (X < 5)
    either = (X < 1) | (X > 5)
    assert [value_of(both, x) for x in (0, 3, 9)] == [False, True, False]
    assert [value_of(either, x) for x in (0, 3, 9)] == [True, False, True]


def test_subscripts_attributes_and_calls():
    row = SimpleNamespace(name="Ada", greet=lambda who, *, mark: f"{who}{mark}")
    assert value_of(X["rows"][0].name, {"rows": [row]}) == "Ada"
    assert value_of(X[1:], "text") == "ext"
    assert value_of(X.greet("hi", mark="!"), row) == "hi!"
    assert value_of(X.strip().upper(), " a ") == "A"


def test_attributes_of_the_value_shadow_nothing():
    # Whatever a Ref keeps for itself is kept under private names.
    names = ("owner", "key", "ops", "default", "name", "connect", "feed", "parent", "inputs")
    for name in names:
        assert value_of(getattr(X, name), SimpleNamespace(**{name: 5})) == 5


def test_references_among_the_arguments_are_resolved():
    values = {"x": {"a": [10, 20]}, "key": "a", "at": 1, "n": 2}
    assert evaluate(X[PARENT["key"]][PARENT["at"]] * PARENT["n"], values) == 40
    assert evaluate(PARENT["at"] + [1][0], values) == 2
    joined = PARENT["key"].apply("{}{}{last}".format, PARENT["at"], last=PARENT["n"])
    assert evaluate(joined, values) == "a12"
    nested = PARENT["key"].apply(lambda key, rows: rows[0][key], [{"a": PARENT["n"]}])
    assert evaluate(nested, values) == 2


def test_apply():
    assert value_of(X.apply(len), [1, 2]) == 2
    assert value_of(X.apply(round, 1), 2.345) == 2.3
    assert value_of(X.apply(sorted, reverse=True), [1, 3, 2]) == [3, 2, 1]
    assert value_of(X.apply(lambda x: x in {1, 2}), 1) is True


def test_nothing_happens_while_recording():
    def never(*args):
        raise AssertionError("called while recording")

    ref = X.apply(never)["k"].name(never) + 1
    assert [op.symbol for op in parts(ref).ops] == ["apply", "[...]", ".name", "()", "+"]


def test_a_reference_does_not_change():
    doubled = X * 2
    doubled + 1
    doubled.or_default(5)
    assert value_of(doubled, 4) == 8
    assert parts(X).ops == ()
    assert parts(doubled).default is MISSING


def test_augmented_assignment_makes_a_new_reference():
    ref = X
    ref += 1
    assert ref is not X
    assert value_of(ref, 1) == 2
    assert value_of(X, 1) == 1


@given(
    st.integers(-50, 50),
    st.lists(
        st.tuples(st.sampled_from([operator.add, operator.sub, operator.mul]), st.integers(-9, 9))
    ),
)
def test_any_sequence_of_operations_is_replayed_in_order(start, operations):
    ref, expected = X, start
    for function, other in operations:
        ref, expected = function(ref, other), function(expected, other)
    assert value_of(ref, start) == expected


def test_errors_come_out_as_they_are():
    with pytest.raises(KeyError, match="'k'"):
        value_of(X["k"], {})
    with pytest.raises(TypeError):
        value_of(X + 1, "text")
    with pytest.raises(AttributeError):
        value_of(X.nothing, 5)


# --- absent values and defaults ----------------------------------------------------------------


def test_an_absent_value_is_missing():
    assert evaluate(X, {}) is MISSING
    assert evaluate(X["k"] + 1, {}) is MISSING
    assert evaluate(PARENT["y"] + X, {"y": 1}) is MISSING
    assert evaluate([1, {"k": X}], {}) is MISSING


def test_none_is_a_value_like_any_other():
    assert evaluate(X, {"x": None}) is None
    assert evaluate(X.or_default(5), {"x": None}) is None
    assert evaluate(X.or_default(None), {}) is None


def test_a_default_stands_in_for_an_absent_value():
    assert evaluate(X.or_default(5), {}) == 5
    assert evaluate(X.or_default(5), {"x": 1}) == 1


def test_a_default_after_operations_stands_for_the_whole():
    assert evaluate((X["k"] + 1).or_default(5), {}) == 5
    assert evaluate((X["k"] + PARENT["y"]).or_default(5), {"x": {"k": 1}}) == 5
    assert evaluate((X["k"] + 1).or_default(5), {"x": {"k": 1}}) == 2


def test_operations_after_a_default_apply_to_it():
    assert evaluate(X.or_default(5) + 1, {}) == 6
    assert evaluate(X.or_default(5) < 3, {}) is False
    assert evaluate(X.or_default({})["k"].or_default("none"), {"x": {"k": "v"}}) == "v"
    assert evaluate(X.or_default(5) + 1, {"x": 1}) == 2


def test_a_default_does_not_hide_errors():
    with pytest.raises(KeyError):
        evaluate(X["k"].or_default(5), {"x": {}})


def test_the_last_default_counts():
    assert evaluate(X.or_default(1).or_default(2), {}) in {1, 2}
    assert evaluate((X.or_default(1) + PARENT["y"]).or_default(9), {}) == 9


# --- what Python does not let us record ----------------------------------------------------------


def test_no_truth_value():
    with pytest.raises(TypeError, match=r"PARENT\['x'\]\.<>> has no truth value.*Branch"):
        bool(X > 1)
    with pytest.raises(TypeError, match="truth value"):
        X and 1
    with pytest.raises(TypeError, match="'&' and '\\|'"):
        not X
    with pytest.raises(TypeError, match="truth value"):
        1 < X < 3  # noqa: B015


def test_no_iteration():
    for use in (iter, list, lambda ref: [*ref], lambda ref: dict(**ref), zip):
        with pytest.raises(TypeError):
            use(X)
    with pytest.raises(TypeError, match=r"MapNode.*Each\(PARENT\['x'\]\).*apply\(list\)"):
        list(X)
    with pytest.raises(TypeError, match="cannot be iterated"):
        _first, _second = X


def test_no_containment():
    with pytest.raises(TypeError, match=r"'in' cannot be recorded.*apply"):
        1 in X  # noqa: B015
    with pytest.raises(TypeError, match="'in' cannot be recorded"):
        1 not in X  # noqa: B015


@pytest.mark.parametrize("function", [len, int, float, round, hex, reversed, next, divmod])
def test_what_must_give_a_builtin_type_is_refused(function):
    with pytest.raises(TypeError):
        function(X, 2) if function is divmod else function(X)


def test_shifting_left_is_not_recorded():
    with pytest.raises(TypeError):
        X << 1


def test_items_cannot_be_set_or_deleted():
    with pytest.raises(TypeError):
        X["k"] = 1
    with pytest.raises(TypeError):
        del X["k"]


@pytest.mark.parametrize(
    "name",
    ["__len__", "__name__", "__wrapped__", "__array__", "__deepcopy__", "__await__", "__fspath__"],
)
def test_dunders_are_refused(name):
    with pytest.raises(AttributeError, match=name):
        getattr(X, name)
    assert not hasattr(X, name)


@pytest.mark.parametrize("key", [0, None, 1.5, ("a",), slice(1)], ids=repr)
def test_the_first_key_is_a_name(key):
    with pytest.raises(TypeError, match="name of a value"):
        PARENT[key]
    with pytest.raises(TypeError, match="name of a value"):
        step("a")[key]


@pytest.mark.parametrize("owner", [PARENT, step("a")], ids=["PARENT", "node"])
def test_owners_are_no_containers(owner):
    with pytest.raises(TypeError, match="cannot be iterated"):
        list(owner)
    with pytest.raises(TypeError, match="cannot be recorded"):
        "x" in owner  # noqa: B015


# --- identity, copies ------------------------------------------------------------------------------


def test_hash_and_identity():
    other = PARENT["x"]
    table = {X: 1, other: 2}
    assert table[X] == 1
    assert table[other] == 2
    assert hash(X) == hash(X)
    assert any(ref is X for ref in table)


def same(one, other):
    mine, yours = parts(one), parts(other)
    assert mine.owner is yours.owner
    assert mine.key == yours.key
    assert [op.symbol for op in mine.ops] == [op.symbol for op in yours.ops]


@pytest.mark.parametrize(
    "ref",
    [
        X,
        X["k"].name,
        X + 1,
        1 + X,
        2**X,
        ~(X > 3),
        -X,
        X.upper(),
        X.apply(len),
        X.or_default(3),
        X + PARENT["y"],
    ],
    ids=repr,
)
def test_copies_and_pickles(ref):
    for twin in (copy.copy(ref), copy.deepcopy(ref), pickle.loads(pickle.dumps(ref))):
        assert type(twin) is Ref
        same(twin, ref)
        assert repr(twin) == repr(ref)
        assert (parts(twin).default is MISSING) == (parts(ref).default is MISSING)


@pytest.mark.parametrize("constant", [PARENT, START, END, MISSING], ids=repr)
def test_markers_stay_what_they_are(constant):
    assert copy.copy(constant) is constant
    assert copy.deepcopy(constant) is constant
    assert pickle.loads(pickle.dumps(constant)) is constant


def test_a_reference_shows_how_it_was_written(nodes):
    a, *_ = nodes
    assert repr(X) == "PARENT['x']"
    assert repr(a["y"]) == "a['y']"
    assert repr(a["y"].name) == "a['y'].name"
    assert repr(a["y"][0] + 1) == "a['y'][...].<+>"
    assert repr(X.strip()) == "PARENT['x'].strip()"


# --- feeding -----------------------------------------------------------------------------------------


def maps_of(node):
    return [(repr(output.source), output.key) for output in node.output_maps]


def test_an_output_to_parent(nodes):
    a, *_ = nodes
    a["y"] >> PARENT["z"]
    a["y"] >> PARENT
    (a["y"] * 2) >> PARENT["twice"]
    assert maps_of(a) == [("a['y']", "z"), ("a['y']", "y"), ("a['y'].<*>", "twice")]


def test_an_output_to_an_input(nodes):
    a, b, c = nodes
    a["y"] >> b["x"]
    a["y"] >> c
    a["y"][0] >> c["first"]
    assert repr(b.inputs) == "{'x': a['y']}"
    assert repr(c.inputs) == "{'y': a['y'], 'first': a['y'][...]}"


@pytest.mark.parametrize("kind", [list, tuple])
def test_several_destinations(nodes, kind):
    a, b, c = nodes
    result = a["y"] >> kind([PARENT["p"], b["x"], PARENT, c])
    assert repr(result) == "a['y']"
    assert maps_of(a) == [("a['y']", "p"), ("a['y']", "y")]
    assert repr(b.inputs) == "{'x': a['y']}"
    assert repr(c.inputs) == "{'y': a['y']}"


def test_destinations_one_after_the_other(nodes):
    a, b, c = nodes
    a["y"] >> PARENT["p"] >> b["x"] >> c["x"]
    assert maps_of(a) == [("a['y']", "p")]
    assert repr(b.inputs) == "{'x': a['y']}"
    assert repr(c.inputs) == "{'x': a['y']}"


def test_parent_to_an_input(nodes):
    a, b, _ = nodes
    PARENT["q"] >> [a["x"], b]
    (PARENT["q"] + 1) >> b["next"]
    assert repr(a.inputs) == "{'x': PARENT['q']}"
    assert repr(b.inputs) == "{'q': PARENT['q'], 'next': PARENT['q'].<+>}"


def test_feeding_is_no_edge(nodes):
    a, b, _ = nodes
    a["y"] >> b["x"]
    assert a.parent.edges == []


def test_parent_does_not_feed_itself():
    with pytest.raises(TypeError, match="PARENT cannot feed PARENT"):
        X >> PARENT["y"]


def test_operations_stand_on_the_left(nodes):
    a, b, _ = nodes
    for target in (PARENT["z"] + 1, PARENT["z"]["k"], b["x"].name):
        with pytest.raises(TypeError, match="on the left of '>>'"):
            a["y"] >> target


@pytest.mark.parametrize("target", [5, "z", None, START, END, {"z"}, [5]], ids=repr)
def test_values_are_fed_to_references(nodes, target):
    a, *_ = nodes
    with pytest.raises(TypeError, match=r"a\['y'\] >> .*PARENT\['name'\] or node\['input'\]"):
        a["y"] >> target


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({"y": PARENT}, [("a['y']", "y")]),
        ({"y": PARENT["z"]}, [("a['y']", "z")]),
        ({"y": [PARENT, PARENT["z"]]}, [("a['y']", "y"), ("a['y']", "z")]),
        ({"*": PARENT}, []),
    ],
)
def test_outputs_say_the_same(outputs, expected):
    with GraphNode(name="g"):
        a = step("a", outputs=outputs)
    assert maps_of(a) == expected
    assert a.star_output == ("*" in outputs)


def test_outputs_to_an_input(nodes):
    _, b, _ = nodes
    step("d", outputs={"y": [b["x"], b]})
    assert repr(b.inputs) == "{'x': d['y'], 'y': d['y']}"


def test_inputs_by_owner_mean_the_same_name(nodes):
    a, *_ = nodes
    d = step("d", inputs={"x": PARENT, "y": a, "z": [a["y"], 1], "n": None, "*": [PARENT, a]})
    assert repr(d.inputs) == "{'x': PARENT['x'], 'y': a['y'], 'z': [a['y'], 1], 'n': None}"
    assert d.star_inputs == [PARENT, a]


# --- references in containers ----------------------------------------------------------------------------


def shown(value):
    return sorted(map(repr, references_in(value)))


def test_references_are_found_in_plain_containers():
    assert shown(5) == []
    assert shown(X) == ["PARENT['x']"]
    assert shown([1, (X, {"k": [PARENT["y"]]})]) == ["PARENT['x']", "PARENT['y']"]


def test_references_are_found_in_operations():
    ref = X[PARENT["key"]].apply(max, [PARENT["a"]], default=PARENT["b"]) + PARENT["c"]
    assert shown(ref) == [
        "PARENT['a']",
        "PARENT['b']",
        "PARENT['c']",
        "PARENT['key']",
        repr(ref),
    ]


class Rows(list):
    pass


@pytest.mark.parametrize(
    "value", [{X}, frozenset([X]), {X: 1}, Rows([X]), SimpleNamespace(x=X), Each(X), "PARENT['x']"]
)
def test_other_containers_are_values(value):
    assert references_in(value) == ()
    assert evaluate(value, {"x": 1}) is value


def test_containers_are_filled():
    values = {"x": 1, "y": [2]}
    assert evaluate([X, (PARENT["y"], {"k": X + 1})], values) == [1, ([2], {"k": 2})]
    assert evaluate({"a": 5, "b": (X,)}, values) == {"a": 5, "b": (1,)}
    assert type(evaluate((X,), values)) is tuple


def test_literals_are_passed_as_they_are():
    literal = {"a": [1, 2]}
    assert evaluate(literal, {}) is literal


def test_each_evaluation_makes_its_own_container():
    value = [X, []]
    assert evaluate(value, {"x": 1}) is not evaluate(value, {"x": 1})
    assert value[0] is X


def test_deeply_nested_containers():
    value = X
    for _ in range(50):
        value = {"k": [value]}
    result = evaluate(value, {"x": 5})
    for _ in range(50):
        result = result["k"][0]
    assert result == 5


def test_compiling_asks_once_for_each_reference():
    asked = []

    def lookup(ref):
        asked.append(repr(ref))
        return lambda frame: frame[parts(ref).key]

    read = compile_value([X, PARENT["y"] + X], lookup)
    assert len(asked) == 3
    assert read({"x": 1, "y": 2}) == [1, 3]
    assert read({"x": 5, "y": 0}) == [5, 5]
    assert len(asked) == 3


def test_as_ref(nodes):
    a, *_ = nodes
    assert as_ref(X, "other") is X
    assert repr(as_ref(PARENT, "x")) == "PARENT['x']"
    assert repr(as_ref(a, "y")) == "a['y']"
    for value in (5, None, "x", START, END, ~a, Each(X), type(a)):
        assert as_ref(value, "x") is None
