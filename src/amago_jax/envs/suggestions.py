"""The helpful end of an error message about a name that does not exist."""

import difflib
from collections.abc import Iterable


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known names are close to ``name``, and what there is to choose from."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}choose from {', '.join(known) or 'none'}"
