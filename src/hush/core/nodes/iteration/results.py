"""What comes of a map's items: columns, whole items, failures and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hush.semconv import OUTCOME_HANDLED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hush.model.contract import BodyOutputs, ItemRecord

__all__ = ("ERRORS", "METRICS", "ItemFailure", "Results")

METRICS = "iteration_metrics"
ERRORS = "errors"


class ItemFailure(dict[str, Any]):
    """Stands at a failed item's place among whole items.

    ``error`` is the text, ``error_type`` the exception's class, ``index`` the item's;
    the body's other outputs are None.
    """

    __slots__ = ()

    @property
    def index(self) -> int:
        """The item's index."""
        return int(self["index"])


class Results:
    """Collects what is read of a map, at each item's place.

    Nothing is kept where nothing is read; memory is that of the results.
    """

    def __init__(self, reads: frozenset[str], body: BodyOutputs) -> None:
        """Prepare columns.

        Args:
            reads: names that anything reads; ``*`` for all columns.
            body: what the body writes.
        """
        wanted = set(reads) - {"*", METRICS, ERRORS} | (reads & {METRICS, ERRORS} & body.names)
        if "*" in reads:
            wanted |= body.names
        self._body = body
        self._columns: dict[str, list[Any]] = {n: [] for n in wanted if n in body.names}
        self._others = wanted - body.names
        self._items: list[Any] | None = [] if self._others or ("*" in reads and body.open) else None
        self._all = "*" in reads
        self._errors: list[dict[str, Any]] | None = [] if ERRORS in reads else None
        self._seen: set[str] = set()
        self._runs: list[float] = []
        self.ok = self.failed = self.handled = self.total = 0
        self._run_s = self._run_max_s = self._wait_s = self._wait_max_s = 0.0

    def add(self, item: ItemRecord) -> None:
        """Take one finished item.

        Args:
            item: what became of it.
        """
        index, _, outcome, outputs, _, _, _, run_s, wait_s = item
        self.total += 1
        self._run_s += run_s
        self._wait_s += wait_s
        if run_s > self._run_max_s:
            self._run_max_s = run_s
        if wait_s > self._wait_max_s:
            self._wait_max_s = wait_s
        if outputs is None:
            self.failed += 1
            if self._errors is not None:
                self._errors.append(_error_of(item))
        elif outcome == OUTCOME_HANDLED:
            self.handled += 1
        else:
            self.ok += 1
        for name, column in self._columns.items():
            value = None if outputs is None else outputs.get(name)
            if index == len(column):
                column.append(value)
            else:
                _place(column, index, value)
        if self._items is not None:
            if outputs is not None:
                self._seen.update(outputs)
            _place(self._items, index, self._failure(item) if outputs is None else outputs)

    @property
    def keeps(self) -> frozenset[str] | None:
        """Names of the body's outputs that it has a use for; None where it has for all."""
        return frozenset(self._columns) if self._items is None else None

    def _failure(self, item: ItemRecord) -> ItemFailure:
        failure = ItemFailure(dict.fromkeys(sorted(self._body.names)))
        failure.update(error=item.message, error_type=item.error_type, index=item.index)
        return failure

    def outputs(self) -> dict[str, Any]:
        """Return columns, whole items, errors and metrics."""
        result: dict[str, Any] = dict(self._columns)
        if self._items is not None:
            late = self._seen - self._body.names
            if self._all:
                result.update({name: self._column(name) for name in sorted(late)})
            for name in self._others:
                # With open outputs only the items tell whether a name is a column.
                result[name] = self._column(name) if name in late else self._whole()
        if self._errors is not None and ERRORS not in self._columns:
            result[ERRORS] = sorted(self._errors, key=lambda error: error["index"])
        if METRICS not in self._columns:
            result[METRICS] = self.metrics()
        return result

    def _column(self, name: str) -> list[Any]:
        items = self._items or ()
        return [None if isinstance(item, ItemFailure) else item.get(name) for item in items]

    def _whole(self) -> list[Any]:
        items = self._items or []
        if self._body.open or len(self._body.names) != 1:
            single = len(self._seen) == 1 and self._body.open
        else:
            single = True
        if not single:
            names = sorted(self._body.names)
            return [
                item if isinstance(item, ItemFailure) else _filled(item, names) for item in items
            ]
        (name,) = self._seen or self._body.names
        return [item if isinstance(item, ItemFailure) else item.get(name) for item in items]

    def metrics(self) -> dict[str, Any]:
        """Return counts and times; times in seconds."""
        total = max(self.total, 1)
        return {
            "total_iterations": self.total,
            "success_count": self.ok,
            "error_count": self.failed,
            "handled_count": self.handled,
            "run_s": self._run_s,
            "run_mean_s": self._run_s / total,
            "run_max_s": self._run_max_s,
            "wait_s": self._wait_s,
            "wait_mean_s": self._wait_s / total,
            "wait_max_s": self._wait_max_s,
        }


def _filled(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    # An output whose node was skipped in an item is None there, as in its column.
    return {**item, **{name: None for name in names if name not in item}}


def _place(column: list[Any], index: int, value: Any) -> None:
    if index >= len(column):
        column.extend([None] * (index + 1 - len(column)))
    column[index] = value


def _error_of(item: ItemRecord) -> dict[str, Any]:
    return {
        "index": item.index,
        "key": item.key,
        "type": item.error_type,
        "message": item.message,
        "attempts": item.attempts,
    }
