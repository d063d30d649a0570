"""Read by pyright, never run: what the attributes of the errors are to a type checker."""

from typing import assert_type

from hush.errors import Failure, GraphError, HushError, NodeTimeoutError, Problem, RunError


def graph_error(error: GraphError) -> None:
    builtin: ValueError = error
    ours: HushError = error
    assert_type(error.problems, tuple[Problem, ...])
    print(builtin, ours)


def run_error(error: RunError) -> None:
    builtin: RuntimeError = error
    assert_type(error.failures, tuple[Failure, ...])
    print(builtin)


def timeout(error: NodeTimeoutError) -> None:
    builtin: TimeoutError = error
    print(builtin)
