"""`python -m decoder_service`: run replicas in a local or an existing Ray."""

import logging
import math
import os
import signal
import sys
from typing import Any, NoReturn

import ray
from luvc.local_stack.ending import child_pids
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
# Nothing is served over HTTP, but without a route Ray's proxies would not know the application.
ROUTE = "/luvc"
# Added to the timeout after which Ray ends a stream: the replica's own deadline shall come first.
_SPARE_SECONDS = 5.0
# Set in the environment where the program has started once more.
_STARTED_AGAIN = "_LUVC_STARTED_AGAIN"

log = logging.getLogger(__name__)


class _Stop(BaseException):
    """Ends the program after a signal. No Exception, so that no handler of Ray's swallows it."""


def main() -> int:
    """Serve until a signal to stop, and return the exit status."""
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
        # Again, because ray.init installs handlers of its own.
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
        for later in (signal.SIGINT, signal.SIGTERM):
            signal.signal(later, signal.SIG_IGN)
        raise _Stop

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _start_ray(config: DecoderConfig) -> None:
    if config.ray_address:
        ray.init(address=config.ray_address, log_to_driver=True, logging_level=logging.WARNING)
        return
    # Ray shall write no token file into the home folder, and report nothing to its makers.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # By default Ray gives its workers a niceness of 15: replicas would starve beside any other busy
    # process.
    os.environ.setdefault("RAY_worker_niceness", "0")
    # How often replicas report to the autoscaler.
    os.environ.setdefault("RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "2")
    needed = math.ceil(config.replica_limit * config.replica_cpus)
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
        if "timed out during startup" not in str(error) or _STARTED_AGAIN in os.environ:
            raise
        _start_again()


def _start_again() -> NoReturn:
    """Start this program once more, in this process.

    Ray gives its own processes 30 s to start, which no setting changes, and raises a bare Exception
    after that. A busy machine may need longer; the second time, their files are in memory. The Ray
    that failed has clients in this process that would end a second one. So the whole program is
    replaced.
    """
    log.warning("Ray did not come up within its 30 s; starting once more")
    _kill_children()
    os.environ[_STARTED_AGAIN] = "1"
    os.execv(sys.executable, sys.orig_argv)


def _kill_children() -> None:
    """Kill the processes of a Ray that did not start, which it has forgotten itself."""
    for pid in child_pids():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


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
    # Returns when the replicas are gone. Serve, its proxies and a local Ray may only go after them.
    serve.delete(APPLICATION)
    ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
