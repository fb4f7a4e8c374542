"""`python -m luvc.cli`: the `luvc` command."""

import sys

from luvc.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
