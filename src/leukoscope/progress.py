"""How a use case tells how far it is."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, done, total)."""


def silent(_what: str, _done: int, _total: int) -> None:
    """Tell nobody."""
