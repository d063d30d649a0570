"""Optional libraries: loaded when they are needed, missed with the name of the extra."""

from __future__ import annotations

import importlib
from typing import Any

from hush.errors import ExecutorError

__all__ = ("load",)


def load(module: str, extra: str) -> Any:
    """Import a library.

    Args:
        module: what to import.
        extra: of hush-runtime, which brings it.

    Raises:
        ExecutorError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExecutorError(
            f"{module} cannot be imported ({error}); it comes with the extra: "
            f'pip install "hush-runtime[{extra}]"'
        ) from error
