"""Run what compose.yaml starts as processes of this machine: `python -m deploy.stack`.

Until Ctrl-C. With --check it asks questions, has Prometheus answer every query of the dashboards
and of the alerts, prints a table, and ends: 0 where all are answered.
"""

import argparse
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
from luvc.local_stack.ending import end_in_order
from luvc.v1 import decoder_pb2, decoder_pb2_grpc

from deploy.stack.answers import Answer, ask_all
from deploy.stack.plan import CannotStart, Plan
from deploy.stack.processes import Processes
from deploy.stack.traffic import traffic

# For all parts: an encoder and a Ray drain what they have accepted.
_STOP_SECONDS = 180.0


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser("deploy.stack", description=__doc__)
    parser.add_argument("--check", action="store_true", help="ask, print a table, and end")
    parser.add_argument("--start-timeout", type=float, default=600.0, help="seconds for each part")
    parser.add_argument("--check-timeout", type=float, default=300.0, help="seconds to be answered")
    options = parser.parse_args()
    end_in_order(KeyboardInterrupt, _STOP_SECONDS)
    with tempfile.TemporaryDirectory(prefix="luvc-") as folder:
        plan, processes = Plan(Path(folder)), Processes(Path(folder))
        try:
            with processes.all_ended():
                start(plan, processes, options.start_timeout)
                if options.check:
                    return check(plan, processes, options.check_timeout)
                while True:
                    time.sleep(1)
                    processes.check_alive()
        except CannotStart as error:
            print(f"stack: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130 if options.check else 0


def start(plan: Plan, processes: Processes, seconds: float) -> None:
    """Start everything in the order of compose.yaml, each part once what it depends on is ready.

    Args:
        plan: the commands.
        processes: run them.
        seconds: for each part to be ready.

    Raises:
        CannotStart: where a part ends or takes too long.
    """
    dashboard = plan.at("ray-head", 8265)
    prometheus = plan.at("prometheus", 9090)
    processes.start("prometheus", plan.prometheus)
    processes.start("cache", plan.cache)
    processes.start("ray-head", plan.head, **plan.environ("ray-head"))
    processes.wait_for("ray-head", lambda: _answers(dashboard, "/api/version"), seconds)
    processes.start("ray-worker", plan.worker, **plan.environ("ray-worker"))
    environ = {**os.environ, **plan.environ("deploy-decoder")}
    deployed = subprocess.run(
        plan.deploy, capture_output=True, text=True, timeout=seconds, env=environ
    )
    if deployed.returncode:
        raise CannotStart(f"serve deploy: {deployed.stderr[-2000:]}")
    decoder, encoder = plan.at("ray-head", 50052), plan.at("encoder", 50051)
    processes.wait_for("the decoder", lambda: _serves(decoder), seconds)
    processes.start("encoder", plan.encoder)
    processes.wait_for("the encoder", lambda: _listens(encoder), seconds)
    processes.wait_for("prometheus", lambda: _answers(prometheus, "/-/ready"), seconds)
    print(f'ready: luvc ask PICTURE "QUESTION" --endpoint {encoder}')
    print(f"       Prometheus on http://{prometheus}, Ray's dashboard on http://{dashboard}")
    sys.stdout.flush()


def check(plan: Plan, processes: Processes, seconds: float) -> int:
    """Ask questions until every query is answered; the store fails meanwhile.

    Args:
        plan: says where everything listens.
        processes: run it.
        seconds: until all queries must be answered.

    Returns:
        The exit status.
    """
    end = time.monotonic() + seconds
    with traffic(plan.at("encoder", 50051)) as failures:
        answers = ask_all(plan.at("prometheus", 9090))
        stopped = False
        while not all(a.series for a in answers) and time.monotonic() < end:
            time.sleep(5)
            processes.check_alive()
            answers = ask_all(plan.at("prometheus", 9090))
            # What the store does well has been counted: now what it does badly.
            if not stopped and sum(not a.series for a in answers) <= 2:
                processes.stop("cache")
                stopped = True
    show(answers)
    missing = [a for a in answers if not a.series]
    print(f"{len(answers)} queries, {len(answers) - len(missing)} answered; "
          f"{len(failures)} questions failed")  # fmt: skip
    return 1 if missing or failures else 0


def show(answers: Sequence[Answer]) -> None:
    """Print a line for each query."""
    for answer in answers:
        value = "nothing" if answer.example is None else f"{answer.example:.4g}"
        print(f"{'ok' if answer.series else 'FAIL':4}  {answer.series:3} series, one is "
              f"{value:9}  {answer.where}  |  {answer.query}")  # fmt: skip


def _serves(endpoint: str) -> bool:
    with grpc.insecure_channel(endpoint) as channel:
        stub = decoder_pb2_grpc.DecoderServiceStub(channel)
        try:
            return bool(stub.GetModelInfo(decoder_pb2.GetModelInfoRequest(), timeout=5).layer_count)
        except grpc.RpcError:
            return False


def _listens(endpoint: str) -> bool:
    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=2)
        except grpc.FutureTimeoutError:
            return False
    return True


def _answers(address: str, path: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
