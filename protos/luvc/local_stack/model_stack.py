"""Whether this machine has what serving needs, which the thin client does without."""

import importlib.util
import sys


def is_installed(*more: str) -> bool:
    """Says so on stderr where the model stack, or one of some more packages, is missing."""
    if not all(map(importlib.util.find_spec, ("ray", "torch"))):
        missing = "the model stack: pip install 'luvc[serve]'"
    elif not all(map(importlib.util.find_spec, more)):
        missing = f"{' and '.join(more)}: pip install 'luvc[serve,calibrate]'"
    else:
        return True
    print(f"luvc: this needs {missing}", file=sys.stderr)
    return False
