"""What a command cannot do, said in a line or two and without a traceback."""

from __future__ import annotations

from hush.cli import exits

__all__ = ("Refusal",)


class Refusal(Exception):  # noqa: N818  # it is told to people, who need not know that it is raised
    """A command ends here, for a reason that its user can do something about.

    Attributes:
        code: how the process exits, one of :mod:`hush.cli.exits`.
    """

    def __init__(self, message: str, code: int = exits.USAGE) -> None:
        """Keep what to say.

        Args:
            message: what is wrong and what would be right; further lines are details.
            code: how the process exits.
        """
        self.message = message
        self.code = code
        super().__init__(message)
