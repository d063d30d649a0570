"""Signatures: what callables of all kinds take and give."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from typing import NamedTuple, NotRequired, Required, TypedDict

import pytest

from hush.model.contract import Parameters
from hush.model.signature import (
    CallShape,
    call_shape,
    declared_keys,
    innermost,
    is_async,
    is_generator,
    is_lambda,
)


def takes(function):
    """Required names, optional names, and whether any other is taken."""
    parameters = call_shape(function).parameters
    return parameters.required, parameters.optional, parameters.open


def call(function, **inputs):
    args, kwargs = call_shape(function).bind(inputs)
    return function(*args, **kwargs)


class Scored(TypedDict):
    score: int
    title: str


class Partly(TypedDict):
    score: int
    note: NotRequired[str]


class Loosely(TypedDict, total=False):
    score: Required[int]
    note: str


class Both(Scored):
    extra: int


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@dataclasses.dataclass(slots=True)
class Point3(Point):
    z: int = dataclasses.field(default=0, kw_only=True)


class Pair(NamedTuple):
    x: int
    y: int


class Scorer:
    """A callable object with methods of all kinds."""

    def __call__(self, text: str, limit: int = 3) -> Scored:
        return {"score": limit, "title": text}

    def method(self, text) -> Scored:
        return {"score": 0, "title": text}

    @classmethod
    def of_class(cls, text) -> Scored:
        return {"score": 0, "title": text}

    @staticmethod
    def static(text) -> Scored:
        return {"score": 0, "title": text}


class AsyncScorer:
    async def __call__(self, text) -> Scored:
        return {"score": 0, "title": text}


class GeneratorScorer:
    def __call__(self):
        yield 1


# --- what is taken -------------------------------------------------------------------------


def test_a_function():
    def function(a, b=1, *, c, d=2):
        pass

    assert takes(function) == ({"a", "c"}, {"b", "d"}, False)


def test_nothing_taken():
    assert takes(lambda: None) == (frozenset(), frozenset(), False)


def test_any_keyword():
    assert takes(lambda a, **rest: None) == ({"a"}, frozenset(), True)


def test_any_position_takes_no_names():
    assert takes(lambda a, *rest, b: None) == ({"a", "b"}, frozenset(), False)


def test_parameters_say_what_they_take():
    parameters = Parameters(frozenset("a"), frozenset("b"))
    assert [parameters.takes(name) for name in "abc"] == [True, True, False]
    assert Parameters(open=True).takes("anything")


def test_methods_do_not_take_self():
    scorer = Scorer()
    for function in (scorer.method, Scorer.of_class, Scorer.static, scorer.static):
        assert takes(function) == ({"text"}, frozenset(), False)
    assert takes(Scorer.method) == ({"self", "text"}, frozenset(), False)


def test_callable_objects():
    assert takes(Scorer()) == ({"text"}, {"limit"}, False)
    assert takes(AsyncScorer()) == ({"text"}, frozenset(), False)


def test_classes():
    assert takes(Point) == ({"x"}, {"y"}, False)
    assert takes(Pair) == ({"x", "y"}, frozenset(), False)


def test_partials():
    def function(a, b, c=1):
        return (a, b, c)

    assert takes(functools.partial(function, 5)) == ({"b"}, {"c"}, False)
    assert takes(functools.partial(function, b=5)) == ({"a"}, {"b", "c"}, False)
    assert takes(functools.partial(functools.partial(function, 1), 2)) == (set(), {"c"}, False)
    assert call(functools.partial(function, 5), b=6) == (5, 6, 1)
    assert call(functools.partial(function, b=5), a=6) == (6, 5, 1)
    assert takes(functools.partial(Scorer(), limit=1)) == ({"text"}, {"limit"}, False)


def test_a_partial_method():
    class Owner:
        def method(self, a, b):
            return (a, b)

        half = functools.partialmethod(method, 1)

    assert takes(Owner().half) == ({"b"}, frozenset(), False)


def test_a_wrapped_function_takes_what_it_wraps():
    def function(a, b=1) -> Scored:
        return {"score": a, "title": b}

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    assert takes(wrapper) == ({"a"}, {"b"}, False)
    assert declared_keys(wrapper).required == {"score", "title"}


def test_a_cached_function():
    @functools.cache
    def function(a) -> Scored:
        return {"score": a, "title": ""}

    assert takes(function) == ({"a"}, frozenset(), False)
    assert declared_keys(function).required == {"score", "title"}


def test_builtins():
    assert takes(len) == ({"obj"}, frozenset(), False)
    assert takes(sorted) == ({"iterable"}, {"key", "reverse"}, False)
    assert takes(math.hypot) in [(set(), set(), True), (set(), set(), False)]
    assert call(len, obj=[1, 2]) == 2
    assert call(sorted, iterable=[2, 1], reverse=True) == [2, 1]


@pytest.mark.parametrize("function", [dict, max, print.__class__, int, str, range])
def test_what_cannot_be_read_takes_anything(function):
    shape = call_shape(function)
    if shape.parameters.open:
        assert shape == CallShape(Parameters(open=True), ())


def test_a_signature_that_raises_takes_anything():
    class Odd:
        __signature__ = "no signature"

        def __call__(self):
            pass

    assert takes(Odd()) == (frozenset(), frozenset(), True)


# --- how it is called ------------------------------------------------------------------------


def test_inputs_are_passed_by_name():
    inputs = {"b": 2, "a": 1}
    shape = call_shape(lambda a, b: None)
    assert shape.positional == ()
    assert shape.bind(inputs) == ((), inputs)


def test_positional_only():
    def function(a, b, /, c, *, d):
        return (a, b, c, d)

    shape = call_shape(function)
    assert shape.positional == ("a", "b")
    assert shape.bind({"d": 4, "c": 3, "b": 2, "a": 1}) == ((1, 2), {"d": 4, "c": 3})
    assert call(function, d=4, c=3, b=2, a=1) == (1, 2, 3, 4)


def test_binding_leaves_the_inputs_alone():
    inputs = {"a": 1, "b": 2}
    call_shape(lambda a, /, b: None).bind(inputs)
    assert inputs == {"a": 1, "b": 2}


def test_positional_only_with_defaults():
    def function(a, b=2, /, c=3):
        return (a, b, c)

    assert takes(function) == ({"a"}, {"b", "c"}, False)
    assert call(function, a=1) == (1, 2, 3)
    assert call(function, a=1, c=5) == (1, 2, 5)
    assert call(function, a=1, b=5) == (1, 5, 3)


def test_a_positional_only_default_left_out_before_one_that_is_given():
    def function(a=1, b=2, /):
        return (a, b)

    def open_function(a=1, b=2, /, **rest):
        return (a, b, rest)

    assert call(function, b=5) == (1, 5)
    assert call(open_function, b=5, c=6) == (1, 5, {"c": 6})


def test_a_name_that_is_positional_only_and_a_keyword():
    def function(a, /, **rest):
        return (a, rest)

    assert call(function, a=1, b=2) == (1, {"b": 2})


# --- what is given -----------------------------------------------------------------------------


def returns(annotation):
    def function():
        pass

    function.__annotations__["return"] = annotation
    return function


@pytest.mark.parametrize(
    ("annotation", "keys"),
    [
        (Scored, {"score", "title"}),
        ("Scored", {"score", "title"}),
        (Both, {"score", "title", "extra"}),
        (Point, {"x", "y"}),
        (Point3, {"x", "y", "z"}),
    ],
)
def test_declared_keys(annotation, keys):
    assert declared_keys(returns(annotation)).required == keys


@pytest.mark.parametrize(
    "annotation",
    [
        None,
        dict,
        dict[str, int],
        "dict[str, Any]",
        int,
        Pair,
        "Unknown",
        "1 +",
        "1 / 0",
        Point | None,
    ],
    ids=repr,
)
def test_other_annotations_declare_nothing(annotation):
    assert declared_keys(returns(annotation)) is None


def test_no_annotation_declares_nothing():
    assert declared_keys(lambda: {"a": 1}) is None


# This module delays its annotations, as most do: then a TypedDict itself does not know what
# is NotRequired, and only typing.get_type_hints(..., include_extras=True) does.
@pytest.mark.parametrize("annotation", [Partly, Loosely])
def test_a_key_that_may_be_left_out_is_not_demanded(annotation):
    assert declared_keys(returns(annotation)).required == {"score"}


def test_declared_keys_of_all_kinds_of_callables():
    scorer = Scorer()

    async def function() -> Scored:
        return {"score": 0, "title": ""}

    callables = [
        scorer,
        scorer.method,
        Scorer.of_class,
        Scorer.static,
        AsyncScorer(),
        function,
        functools.partial(function),
        functools.partial(scorer, limit=1),
        functools.partial(functools.partial(scorer.method)),
    ]
    for one in callables:
        assert declared_keys(one).required == {"score", "title"}, one


@pytest.mark.parametrize("function", [len, dict, int, Point, functools.partial(len), math.sqrt])
def test_what_has_no_annotations_declares_nothing(function):
    assert declared_keys(function) is None


# --- kinds of callables --------------------------------------------------------------------------


async def coroutine():
    pass


def plain():
    pass


def generator():
    yield 1


async def async_generator():
    yield 1


@pytest.mark.parametrize(
    "function",
    [
        coroutine,
        functools.partial(coroutine),
        functools.partial(functools.partial(coroutine)),
        AsyncScorer(),
        functools.partial(AsyncScorer()),
        AsyncScorer().__call__,
    ],
)
def test_async(function):
    assert is_async(function)
    assert not is_generator(function)


@pytest.mark.parametrize(
    "function", [plain, lambda: None, len, Point, Scorer(), AsyncScorer, generator, async_generator]
)
def test_not_async(function):
    assert not is_async(function)


@pytest.mark.parametrize(
    "function", [generator, async_generator, functools.partial(generator), GeneratorScorer()]
)
def test_generators(function):
    assert is_generator(function)


@pytest.mark.parametrize("function", [plain, coroutine, len, range, GeneratorScorer, Scorer()])
def test_no_generators(function):
    assert not is_generator(function)


def test_lambdas():
    assert is_lambda(lambda: None)
    assert is_lambda(functools.partial(lambda x: x, 1))
    assert not is_lambda(plain)
    assert not is_lambda(Scorer())
    assert not is_lambda(len)


def test_innermost():
    scorer = Scorer()
    assert innermost(plain) is plain
    assert innermost(functools.partial(functools.partial(plain))) is plain
    assert innermost(scorer) is Scorer.__call__
    assert innermost(Scorer) is Scorer
    assert innermost(len) is len
    assert innermost(scorer.method) == scorer.method


class Pretender:
    """Says that it is whatever one asks for."""

    def __getattr__(self, name):
        return self

    def __call__(self, a):
        return {"a": a}


def test_objects_that_answer_to_any_name():
    function = Pretender()
    assert declared_keys(function) is None
    assert not is_async(function)
    assert not is_generator(function)
    assert not is_lambda(function)


def plain(a, b=1, *, c, d=2): ...
def by_position(a, b=1, /, c=2, *rest, d, **others): ...
def only_positions(a, b, c=3, /): ...
def nothing(): ...
async def waits(self, x, *, y=None): ...


@pytest.mark.parametrize(
    "function",
    [
        plain,
        by_position,
        only_positions,
        nothing,
        waits,
        lambda *args, x=1, **kw: None,
        lambda x: x,
    ],
)
def test_functions_are_read_as_inspect_reads_them(function):
    def marked(*args, **kwargs): ...

    # With a signature of its own, it goes the way of all other callables.
    marked.__signature__ = inspect.signature(function)
    assert call_shape(function) == call_shape(marked)


def test_a_wrapper_takes_what_it_wraps():
    @functools.wraps(plain)
    def wrapper(*args, **kwargs): ...

    assert call_shape(wrapper) == call_shape(plain)


def test_only_what_is_returned_is_looked_at_where_it_declares_nothing():
    def unresolved(a: Nowhere) -> dict[str, int]: ...  # noqa: F821
    def no_return(a: Nowhere): ...  # noqa: F821
    def both(a: Nowhere) -> Scored: ...  # noqa: F821
    def returned() -> Nowhere: ...  # noqa: F821

    for function in (unresolved, no_return, both, returned):
        assert declared_keys(function) is None
