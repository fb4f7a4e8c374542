"""The services that the cases act on: a decoder of two replicas, three encoders and one Redis."""

import hashlib
import json
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from luvc import AsyncClient
from luvc.local_stack.free_port import free_port

from benchmarks.chaos.judged_load import Asker, Question
from benchmarks.common.noise_images import encoded, noise_image
from benchmarks.common.random_checkpoints import write_checkpoint
from benchmarks.common.redis_server import RestartableRedis
from benchmarks.common.service_processes import RestartableService

KEYS = {"one": "key-of-one", "two": "key-of-two"}
# The encoders share one store; only the small one refuses much.
SMALL_QUEUES = ("--max-active", "8", "--max-waiting", "16")
LARGE_QUEUES = ("--tenant-active", "128", "--tenant-waiting", "128")
_SIDES = ((160, 120), (120, 160), (224, 224), (112, 336), (280, 140), (84, 84))
_RECORD = re.compile(r"pid=(\d+)\b.*?(\{.*\})$", re.MULTILINE)


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        crowd: requests at once, more than the queues hold.
        load: callers at once while something fails.
        kills: replicas killed, one after another.
        seconds: how long a fault lasts.
        cancels: requests whose callers leave.
        equal: requests for the same image at once.
        hostile: inputs that mean harm.
        patience: seconds for one answer.
        free_seconds: until nothing may be left of callers that have gone.
        start_seconds: for a service to be ready.
    """

    crowd: int = 200
    load: int = 32
    kills: int = 10
    seconds: float = 4.0
    cancels: int = 100
    equal: int = 64
    hostile: int = 5000
    patience: float = 60.0
    free_seconds: float = 1.0
    start_seconds: float = 600.0


# A part of the tests, which run on machines of any speed: what comes free, not how soon.
QUICK = Size(
    crowd=60, load=8, kills=1, seconds=0.5, cancels=20, equal=16, hostile=200, free_seconds=30
)


@dataclass(frozen=True)
class Record:
    """A line of a replica's log.

    Attributes:
        pid: the replica's process.
        time: when it was written, in seconds since 1970; Ray brings it to the decoder's log later.
    """

    pid: int
    time: float
    message: str


@dataclass
class Testbed:
    """All services, running.

    Attributes:
        checkpoint: folder of the served model.
        small_encoder: has short queues; the other two have long ones.
        questions: with the answers given before any harm was done.
        killed: process ids of replicas that a case has killed.
    """

    size: Size
    checkpoint: str
    store: RestartableRedis
    decoder: RestartableService
    small_encoder: RestartableService
    first_encoder: RestartableService
    second_encoder: RestartableService
    questions: Sequence[Question] = ()
    killed: set[int] = field(default_factory=set)

    @property
    def replicas(self) -> list[int]:
        """Process ids of the decoder's replicas that are ready."""
        ready = {r.pid for r in self.records if r.message.startswith("the replica is ready")}
        return sorted(pid for pid in ready - self.killed if _is_alive(pid))

    @property
    def records(self) -> list[Record]:
        """What the replicas have logged; the records of each replica are in order."""
        found = ((int(pid), json.loads(line)) for pid, line in _RECORD.findall(self.decoder.log))
        return [Record(pid, line["time"], line["message"]) for pid, line in found]

    @asynccontextmanager
    async def asking(
        self, encoder: RestartableService, retries: int = 0, tenant: str = "one"
    ) -> AsyncIterator[Asker]:
        """Yield a way to ask questions of one of the encoders, as a tenant.

        Args:
            encoder: which one.
            retries: how often the client tries again.
            tenant: whose API key the calls carry.
        """
        async with AsyncClient(encoder.endpoint, api_key=KEYS[tenant]) as client:
            yield Asker(client, self.size.patience, retries)


@asynccontextmanager
async def running_testbed(size: Size, folder: Path) -> AsyncIterator[Testbed]:
    """Start everything, yield it when it is ready, and leave nothing of it behind."""
    checkpoint = write_checkpoint(folder / "random")
    keys = folder / "keys"
    digests = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
    keys.write_text("".join(f"{digest} {name}\n" for name, digest in digests.items()))
    model = ("--model", str(checkpoint))
    store = RestartableRedis()
    decoder = RestartableService(
        "decoder", free_port(), folder, *model, "--http-port", str(free_port()),
        "--replicas", "2", "--replica-cpus", "0.5", "--ray-cpus", "2", "--grace", "5",
        "--store", store.url, "--max-active", "16", "--max-waiting", "32",
        "--log-format", "json", "--log-level", "debug",
    )  # fmt: skip

    def encoder_with(*flags: str) -> RestartableService:
        return RestartableService(
            "encoder", free_port(), folder, *model, "--decoder", decoder.endpoint,
            "--api-keys", str(keys), "--store", store.url, "--inline-bytes", "0", *flags,
        )  # fmt: skip

    queues = (SMALL_QUEUES, LARGE_QUEUES, LARGE_QUEUES)
    small, first, second = encoders = [encoder_with(*flags) for flags in queues]
    try:
        # Ray gives its own processes 30 s to come up: nothing else starts meanwhile.
        decoder.start().wait_ready(size.start_seconds)
        for encoder in encoders:
            encoder.start()
        for encoder in encoders:
            encoder.wait_ready(size.start_seconds)
        testbed = Testbed(size, str(checkpoint), store, decoder, small, first, second)
        async with testbed.asking(testbed.first_encoder, retries=8) as asker:
            testbed.questions = await asker.learn(_questions())
        yield testbed
    finally:
        for service in reversed([decoder, *encoders]):
            service.close()
        store.close()


def _questions() -> list[Question]:
    """Make questions about images of all shapes, with answers of all lengths."""
    images = [encoded(noise_image(w, h, i)) for i, (w, h) in enumerate(_SIDES)]
    return [
        Question(f"What is picture {i}?", (image,), 6 + 10 * i) for i, image in enumerate(images)
    ]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
