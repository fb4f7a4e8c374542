"""`python -m decoder_service`: replicas in a local or an existing Ray, in the foreground."""

import logging
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import HTTPOptions, gRPCOptions
from ray.serve.schema import LoggingConfig

from decoder_service.app import SERVICER_FUNCTIONS, application
from decoder_service.config import DecoderConfig
from luvc_core.errors import ServiceError
from luvc_core.models.checkpoint.resolve import resolve
from luvc_core.runtime.cli_config import config_from
from luvc_core.runtime.log_format import set_up

APPLICATION = "luvc"
# Nothing is served over HTTP, but without a route Ray's proxies do not know the application.
ROUTE = "/luvc"
# Ray ends a stream here even if its replica does not; the replica's own deadline comes first.
_SPARE_SECONDS = 5.0
# Set in the environment of a second start.
_AGAIN = "_LUVC_STARTED_AGAIN"

log = logging.getLogger(__name__)


class _Stop(BaseException):
    """A signal asked the program to end. No Exception, so that no handler of Ray's swallows it."""


def main() -> int:
    """Serve until told to stop; returns the exit status."""
    config = config_from(
        DecoderConfig, "decoder_service", "LUVC_DECODER_", sys.argv[1:], os.environ
    )
    set_up(config.log_level, config.log_format, logging.BASIC_FORMAT)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        resolve(config.model)
        built = application(config)
        _catch_signals()
        _start_ray(config)
        # ray.init installs a handler of its own.
        _catch_signals()
        _deploy(config, built)
        print(f"decoder ready on {config.host}:{config.port} ({config.model})", flush=True)
        while True:
            signal.pause()
    except _Stop:
        return 0
    except (ServiceError, OSError, RuntimeError, ConnectionError) as error:
        print(f"decoder_service: {error}", file=sys.stderr)
        return 1
    finally:
        _shut_down()


def _catch_signals() -> None:
    def stop(number: int, frame: Any) -> None:
        for again in (signal.SIGINT, signal.SIGTERM):
            signal.signal(again, signal.SIG_IGN)
        raise _Stop

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _start_ray(config: DecoderConfig) -> None:
    if config.ray_address:
        ray.init(address=config.ray_address, log_to_driver=True, logging_level=logging.WARNING)
        return
    # No token file in the home folder, no reports to the makers of Ray.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's workers are 15 nicer by default: beside any other busy process, replicas would starve.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # How often replicas tell the autoscaler what they have to do.
    os.environ.setdefault("RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "2")
    needed = math.ceil(config.most_replicas * config.replica_cpus)
    try:
        ray.init(
            address="local",
            num_cpus=config.ray_cpus or max(os.cpu_count() or 1, needed),
            object_store_memory=config.object_store_bytes,
            include_dashboard=False,
            log_to_driver=True,
            logging_level=logging.WARNING,
            _metrics_export_port=config.metrics_port or None,
        )
    except Exception as error:
        if "timed out during startup" not in str(error) or _AGAIN in os.environ:
            raise
        _start_again()


def _start_again() -> NoReturn:
    """This program once more, in this process.

    Ray gives its own processes 30 s to come up, by no setting, and says so by a bare Exception. A
    busy machine may need longer; the second time their files are in memory. The Ray that failed
    has clients in this process that would end it, so everything of it goes.
    """
    log.warning("Ray did not come up within its 30 s; starting once more")
    _kill_children()
    os.environ[_AGAIN] = "1"
    os.execv(sys.executable, sys.orig_argv)


def _kill_children() -> None:
    """What a Ray that did not come up leaves behind, which it has forgotten itself."""
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
            os.waitpid(int(pid), 0)


def _deploy(config: DecoderConfig, built: Application) -> None:
    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
    serve.start(
        logging_config=quiet,
        http_options=HTTPOptions(host=config.host, port=config.http_port),
        grpc_options=gRPCOptions(
            port=config.port,
            grpc_servicer_functions=SERVICER_FUNCTIONS,
            request_timeout_s=config.timeout + _SPARE_SECONDS,
        ),
    )
    serve.run(built, name=APPLICATION, route_prefix=ROUTE, logging_config=quiet)


def _shut_down() -> None:
    """Let accepted answers finish, then take down what was started here."""
    if not ray.is_initialized():
        return
    # Returns when the replicas are gone. Only then may Serve and its proxies go, with a local Ray.
    serve.delete(APPLICATION)
    ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
