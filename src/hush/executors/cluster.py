"""What executors of a cluster are told alike: where it is, or how large one that is started is."""

from __future__ import annotations

from hush.executors.cpus import usable_cpus
from hush.executors.limits import positive

__all__ = ("ClusterExecutor",)


class ClusterExecutor:
    """Keeps what users say; knows no engine and connects to nothing."""

    def __init__(
        self,
        address: str | None,
        max_workers: int | None,
        connect_timeout_s: float,
        body: str | None,
    ) -> None:
        """Set where.

        Args:
            address: of a cluster; None starts one.
            max_workers: calls at the same time on a cluster that is started; None means one
                for each CPU that this process may use.
            connect_timeout_s: how long connecting may take, in seconds.
            body: ``module:attribute`` of what workers import; None sends it.

        Raises:
            ValueError: the number of workers is none, or is given with an address.
        """
        if address is not None and max_workers is not None:
            raise ValueError(
                "max_workers is for a cluster that is started here; the workers of the one at "
                f"{address} are its own"
            )
        self.body = body
        self._address = address
        self._max_workers = positive("max_workers", max_workers)
        self._connect_timeout_s = connect_timeout_s

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address or 'local'!r})"

    def __reduce__(self) -> tuple[object, ...]:
        # Goes along inside of what a worker gets, where it is not used. Keys stay here.
        return type(self), (self._address,)

    def _workers(self) -> int:
        return self._max_workers or usable_cpus()

    def _slots_of(self, known: int | None) -> int:
        """Return how many calls it runs at once, by what the connection knows, if there is one."""
        if known is not None:
            return max(1, known)
        return 1 if self._address else self._workers()
