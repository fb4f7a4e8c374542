"""Upgrade from the release before, half by half in both orders, under load; no request may fail.

`make bench-upgrade`, or `python -m benchmarks.serving.upgrade`. Two encoders and a decoder of a
release (its commit, in a folder of its own) serve; then one half after the other is replaced by
today's, as Kubernetes would: an encoder goes once its successor is ready, and a decoder once a
Service leads elsewhere and the connections to it have grown old. Meanwhile clients ask without
pause. Writes `results/upgrade.json`.
"""

import argparse
import io
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from luvc import Client
from luvc.local_stack.ending import end_in_order
from luvc.local_stack.free_port import free_port

from benchmarks.common import report
from benchmarks.common.service_processes import CHECKOUT, PACKAGES, Service, Services
from benchmarks.common.steady_load import Load, load
from benchmarks.common.tcp_relay import Relay, relaying
from benchmarks.tasks.question_files import file_questions

GOLDEN = CHECKOUT / "tests" / "wire" / "golden"
# Today's for both: other weights are another model, whose halves refuse each other.
MODEL = CHECKOUT / "luvc_core" / "checkpoints" / "luvc-tiny-qwen2vl"
PATHS = {"encoder first": ("encoder", "decoder"), "decoder first": ("decoder", "encoder")}
CLIENTS = 4
COMMON = (f"--model={MODEL}", "--device=cpu", "--dtype=float32", "--torch-threads=1", "--grace=120")
# Shorter than by default, so that a minute is not spent waiting.
AGE = 5.0


@dataclass(frozen=True)
class Step:
    """What was asked while a half was replaced, and after it.

    Attributes:
        encoder: which release serves at the end.
        decoder: which release serves at the end.
    """

    path: str
    step: str
    encoder: str
    decoder: str
    requests: int
    failed: int
    seconds: float


def newest_release() -> str:
    """Return the name of the newest release that has left its messages behind."""
    folder = max(GOLDEN.iterdir(), key=lambda path: [int(n) for n in path.name.split(".")])
    return f"v{folder.name}"


def revision_of(release: str) -> str:
    """Return the commit that a release wrote beside its messages, or a tag or commit as it is.

    A clone need not have tags.
    """
    written = GOLDEN / release.removeprefix("v") / "COMMIT"
    return written.read_text().strip() if written.is_file() else release


def _git(*command: str) -> str:
    return subprocess.run(
        ["git", *command], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout


def check_out(revision: str) -> Path:
    """Put the files of a revision into a folder of their own, once; return the folder."""
    commit = _git("rev-parse", f"{revision}^{{commit}}").strip()
    folder = CHECKOUT / "runs" / "releases" / commit
    if not folder.is_dir():
        archive = subprocess.run(
            ["git", "archive", commit], cwd=CHECKOUT, capture_output=True, check=True
        ).stdout
        part = folder.with_suffix(".part")
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(part, filter="data")
        _install_transformers(part)
        part.rename(folder)
    return folder


def _install_transformers(root: Path) -> None:
    """Install the transformers that a release pins beside it, where another one is installed here.

    A release need not work with what came after it: 0.1.0 does not with 5.24.
    """
    pinned = re.search(r"^transformers==(.+)$", (root / "constraints.txt").read_text(), re.M)
    if pinned and pinned[1] != version("transformers"):
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
        subprocess.run([*command, f"--target={root / PACKAGES}", pinned[0]], check=True)


class Upgrade:
    """The services of one upgrade."""

    def __init__(self, services: Services, patience: float) -> None:
        self._services = services
        self._patience = patience
        self._encoders: list[Service] = []
        # One address more than encoders: where the next one starts.
        self.ports = [free_port() for _ in range(3)]
        self._next = 0

    def decoder(self, root: Path) -> Service:
        """Start a decoder and wait until it is ready."""
        decoder = self._services.start(
            "decoder", root, *COMMON, f"--http-port={free_port()}", "--ray-cpus=1"
        )
        decoder.wait_ready(self._patience)
        return decoder

    def encoder(self, root: Path, decoder: str) -> Service:
        """Start an encoder at the next of the addresses and wait until it is ready."""
        port = self.ports[self._next % len(self.ports)]
        self._next += 1
        flags = [*COMMON, f"--decoder={decoder}"]
        # In whatever module a release keeps its flags.
        modules = (root / "encoder_service").rglob("*.py")
        if any("decoder_connection_age" in module.read_text() for module in modules):
            flags.append(f"--decoder-connection-age={AGE}")
        encoder = self._services.start("encoder", root, *flags, port=port)
        encoder.wait_ready(self._patience)
        self._encoders.append(encoder)
        return encoder

    def roll_encoders(self, root: Path, decoder: str) -> None:
        """Replace the encoders: each goes once its successor is ready."""
        for old in list(self._encoders):
            self.encoder(root, decoder)
            self._encoders.remove(old)
            old.stop()

    def switch_decoder(self, root: Path, relay: Relay, old: Service) -> Service:
        """Replace the decoder: the old one goes once nothing leads to it, or its time is over.

        Args:
            root: the checkout of the new one.
            relay: leads to the decoder.
            old: what goes.

        Returns:
            The new decoder.
        """
        new = self.decoder(root)
        relay.target = new.endpoint
        end = time.monotonic() + 4 * AGE
        while relay.open[old.endpoint] and time.monotonic() < end:
            time.sleep(0.2)
        old.stop()
        return new


def go(path: str, names: dict[str, Path], patience: float, calm: float) -> list[Step]:
    """Replace one half after the other.

    Args:
        path: which half first.
        names: folders of both releases by name, the old one first.
        patience: seconds for a start.
        calm: seconds of load after each step.
    """
    old, new = names
    serving = {"encoder": old, "decoder": old}
    steps: list[Step] = []
    with tempfile.TemporaryDirectory() as logs, Services(Path(logs)) as services:
        upgrade = Upgrade(services, patience)
        decoder = upgrade.decoder(names[old])
        relay = Relay(decoder.endpoint)
        with relaying(relay) as address:
            for _ in range(2):
                upgrade.encoder(names[old], address)
            target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in upgrade.ports)
            with load(target, CLIENTS, ask) as found:
                for half in ("", *PATHS[path]):
                    before, start = (found.asked, found.failed), time.monotonic()
                    if half == "encoder":
                        upgrade.roll_encoders(names[new], address)
                    elif half == "decoder":
                        decoder = upgrade.switch_decoder(names[new], relay, decoder)
                    serving |= {half: new} if half else {}
                    time.sleep(calm)
                    steps.append(_step(path, half, serving, found, before, start))
    return steps


def _step(
    path: str,
    half: str,
    serving: dict[str, str],
    found: Load,
    before: tuple[int, int],
    start: float,
) -> Step:
    what = f"{half} replaced" if half else "all of the release"
    step = Step(
        path, what, serving["encoder"], serving["decoder"], found.asked - before[0],
        found.failed - before[1], round(time.monotonic() - start, 1),
    )  # fmt: skip
    print(f"{step}", *found.errors.items(), sep="\n  ", file=sys.stderr)
    return step


def ask(client: Client, number: int) -> None:
    """Ask about images and documents, some of them seen before."""
    question = _QUESTIONS[number % len(_QUESTIONS)]
    client.ask(question.question, *question.files, max_tokens=8, timeout=110)


_QUESTIONS = [q for kind in ("presence", "document") for q in file_questions(kind, 8)]


def main() -> int:
    """Run both orders, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", default="", help="name, tag or commit; default: the newest")
    parser.add_argument("--calm", type=float, default=15.0, help="seconds of load after a step")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds for a start")
    parser.add_argument("--out", default="upgrade", help="name in results/ (default: %(default)s)")
    o = parser.parse_args()
    release = o.release or newest_release()
    names = {release: check_out(revision_of(release)), "today": CHECKOUT}
    steps = [step for path in PATHS for step in go(path, names, o.patience, o.calm)]
    header = ("path", "step", "encoder", "decoder", "requests", "failed", "seconds")
    print(report.table(header, [tuple(asdict(step).values()) for step in steps]))
    rows = [asdict(step) for step in steps]
    report.write(o.out, {"machine": report.machine(), "clients": CLIENTS, "rows": rows})
    return 1 if any(step.failed for step in steps) else 0


if __name__ == "__main__":
    end_in_order()
    sys.exit(main())
