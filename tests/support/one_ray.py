"""Serve one model after another in one Ray: arguments are ORDERS and flags of decoder_service.

Serves the model that the file ORDERS names, and the next one once it names another: what takes
longest about a decoder is to start Ray and to import what models need.
"""

import sys
import time
from pathlib import Path

import ray
from ray import serve

from decoder_service.__main__ import APPLICATION, _deploy, _start_ray
from decoder_service.app import application
from decoder_service.config import DecoderConfig
from luvc_core.runtime.cli_config import config_from


def main() -> None:
    """Serve until it is killed."""
    orders, served = Path(sys.argv[1]), ""
    while True:
        while (model := orders.read_text()) in ("", served):
            time.sleep(0.05)
        flags = ["--model", model, *sys.argv[2:]]
        config = config_from(DecoderConfig, "decoder_service", "LUVC_DECODER_", flags, {})
        if served:
            serve.delete(APPLICATION)
        built = application(config)
        if not ray.is_initialized():
            _start_ray(config)
        _deploy(config, built)
        served = model


if __name__ == "__main__":
    main()
