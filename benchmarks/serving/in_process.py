"""Do the services' work in this process, one question at a time, and compare."""

import statistics
import time
from collections.abc import Mapping, Sequence

from luvc.wire.fields import seconds_of

from benchmarks.serving.client_load import Asked, Question
from luvc_core.chat import Message, SamplingParams
from luvc_core.compression.profiles import profile
from luvc_core.compression.settings import Compression
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.engine.scheduler import Limits, Scheduler
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.registry import load_language, load_vision

# Stages of the services, in order, and which of them the work itself is.
WAITS = ("encode_queue", "transfer", "prefill_queue")
WORK = ("media", "encode", "prefill", "decode")


class Alone:
    """Both halves of a checkpoint, with one profile.

    Attributes:
        stages: seconds of each stage, one for each question so far.
    """

    def __init__(self, model: str, name: str) -> None:
        self._encoder = MediaEncoder(load_vision(model))
        self._engine = RequestProcessor(load_language(model), auto_pruning=True)
        self._compression = profile(name)
        self.stages: dict[str, list[float]] = {stage: [] for stage in WORK}

    def request(self, question: Question, compression: Compression, max_tokens: int) -> Request:
        """Encode the images and build the engine's request.

        Args:
            question: the text and its files.
            compression: of the images.
            max_tokens: of the answer.
        """
        alone = len(question.files) == 1
        start = time.perf_counter()
        patches = [self._encoder.prepare(file, "", alone) for file in question.files]
        prepared = time.perf_counter()
        shown = self._encoder.encode(patches, compression.oim)
        self.stages["media"].append(prepared - start)
        self.stages["encode"].append(time.perf_counter() - prepared)
        spu = compression.spu_for(tokens.detail for tokens in shown)
        return Request((Message("user", (*shown, question.text)),), SamplingParams(max_tokens), spu)

    def ask(self, question: Question, max_tokens: int) -> Asked:
        """Answer a question and note the seconds of each stage."""
        start = time.perf_counter()
        generation = self._engine.start(self.request(question, self._compression, max_tokens))
        text, first, result = "", 0.0, None
        while (event := generation.step()) is not None:
            text += event.text
            first = first or (time.perf_counter() - start if event.text else 0.0)
            result = event.result
        assert result
        self.stages["prefill"].append(result.prefill_seconds)
        self.stages["decode"].append(result.decode_seconds)
        return Asked(text, first, (), time.perf_counter() - start)

    def in_flight(
        self, question: Question, compression: Compression, max_tokens: int, kv_bytes: int
    ) -> int:
        """Return how many equal requests can hold KV cache at once.

        Args:
            question: what all of them ask.
            compression: of the images.
            max_tokens: of an answer.
            kv_bytes: size of the KV cache.
        """
        scheduler = Scheduler(Limits(kv_bytes))
        request = self.request(question, compression, max_tokens)
        generation = self._engine.start(request)
        for _ in range(kv_bytes // generation.kv_byte_count + 1):
            scheduler.submit(self._engine.start(request))
        scheduler.step()
        return scheduler.in_flight_count


def overhead(served: Sequence[Asked], alone: Sequence[Asked]) -> float:
    """Return the milliseconds that the services add to an answer, median over pairs."""
    pairs = zip(served, alone, strict=True)
    return round(1000 * statistics.median(a.total - b.total for a, b in pairs), 1)


def breakdown(
    served: Sequence[Asked], stages: Mapping[str, Sequence[float]]
) -> dict[str, dict[str, float]]:
    """Return where the time goes: medians in milliseconds of each stage, in the services and alone.

    `rest` is what no stage counts, above all the way between client and encoder. Of several images
    the services tell the one that was ready last, which waited for the others.
    """
    usages = [a.usage for a in served if a.usage]

    def of(stage: str) -> list[float]:
        return [seconds_of(getattr(usage.times, stage)) for usage in usages]

    named = {stage: of(stage) for stage in (*WORK, *WAITS)}
    named["rest"] = [
        a.total - sum(stage_seconds)
        for a, stage_seconds in zip(served, zip(*named.values(), strict=True), strict=True)
    ]
    found = {
        stage: {"services_ms": round(1000 * statistics.median(times), 2)}
        for stage, times in named.items()
    }
    for stage in WORK:
        found[stage]["alone_ms"] = round(1000 * statistics.median(stages[stage]), 2)
    return found
