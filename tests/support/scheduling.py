"""Requests of the scheduler's tests, and the steps that serve them."""

import itertools

from luvc_core.chat import SamplingParams
from luvc_core.compression.settings import Keep, Ramp, SpuSettings
from luvc_core.engine.generation import Generation
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.engine.scheduler import Limits, Outcome, Scheduler
from luvc_core.models.base import LanguageHalf
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from tests.support.checkpoints import ask, two_images

LAYERS = 5
KV = 1 << 20
SPUS = (
    None,
    SpuSettings(Ramp(start=0.0)),
    SpuSettings(Keep((0.5, 0.4, 0.2, 0.1, 0.0)), sampling="index"),
    SpuSettings(Ramp(start=0.4, shape="step")),
)


def mixed_requests(images: list[VisionTokens]) -> list[Request]:
    """Make requests about text alone, one image and two, with every schedule.

    Their answers have different lengths.
    """
    talks = (ask("Say something."), ask(images[0], "What?"), two_images(images))
    return [
        Request(talk, SamplingParams(max_tokens=3 + 2 * i, temperature=float(i == 2), seed=i), spu)
        for spu in SPUS
        for i, talk in enumerate(talks)
    ]


def finish(scheduler: Scheduler) -> list[Outcome]:
    """Step until nothing is left to do; return all outcomes."""
    steps = itertools.takewhile(lambda _: not scheduler.idle, itertools.count())
    return [outcome for _ in steps for outcome in scheduler.step()]


def started(
    language: LanguageHalf, *requests: Request, prefill_rows: int = 1
) -> tuple[Scheduler, list[Generation]]:
    """Start requests in a new scheduler; return both.

    Args:
        language: the half that answers.
        requests: one generation each.
        prefill_rows: of the scheduler's limits.
    """
    scheduler = Scheduler(Limits(KV, prefill_rows))
    generations = [RequestProcessor(language).start(request) for request in requests]
    for generation in generations:
        scheduler.submit(generation)
    return scheduler, generations
