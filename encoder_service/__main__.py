"""`python -m encoder_service`: run the encoder service in the foreground."""

import asyncio
import os
import sys

from luvc.wire import traces

from encoder_service.config import EncoderConfig
from encoder_service.server import serve
from luvc_core.errors import ServiceError
from luvc_core.runtime.cli_config import config_from
from luvc_core.runtime.log_format import set_up


def main() -> int:
    """Serve until a signal to stop, and return the exit status."""
    config = config_from(
        EncoderConfig, "encoder_service", "LUVC_ENCODER_", sys.argv[1:], os.environ
    )
    set_up(config.log_level, config.log_format, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    traces.set_up("luvc-encoder")
    try:
        asyncio.run(serve(config))
    except (ServiceError, OSError, RuntimeError, ValueError) as error:
        print(f"encoder_service: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
