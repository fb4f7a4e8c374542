"""Check for packages that serving needs, and the client does without."""

import importlib.util
import sys


def is_installed(*more: str) -> bool:
    """Return whether the model stack and `more` are installed; print to stderr what is not."""
    if not all(map(importlib.util.find_spec, ("ray", "torch"))):
        missing = "the model stack: pip install 'luvc[serve]'"
    elif not all(map(importlib.util.find_spec, more)):
        missing = f"{' and '.join(more)}: pip install 'luvc[serve,calibrate]'"
    else:
        return True
    print(f"luvc: this needs {missing}", file=sys.stderr)
    return False
