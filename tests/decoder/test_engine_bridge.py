"""Answers of the engine as streams: soon, but not in crumbs, and nothing left of who leaves."""

import asyncio
import logging
from pathlib import Path

import pytest

from decoder_service.engine_bridge import EngineBridge
from luvc_core.chat import SamplingParams
from luvc_core.engine.generation import Generation
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.engine.scheduler import Limits
from luvc_core.models.base import LanguageHalf
from luvc_core.models.registry import load_language
from tests.support.checkpoints import ask, write_checkpoint


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> LanguageHalf:
    folder: Path = write_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    return load_language(str(folder), "cpu", "float32")


def _generation(language: LanguageHalf, max_tokens: int) -> Generation:
    return RequestProcessor(language).start(
        Request(ask("Hello"), SamplingParams(max_tokens=max_tokens))
    )


def test_texts_that_come_soon_after_another_travel_with_the_next(language: LanguageHalf) -> None:
    async def texts(text_interval: float, whole: bool = False) -> list[str]:
        bridge = EngineBridge(Limits(), 1, text_interval)
        events = [event async for event in bridge.stream(_generation(language, 40), whole)]
        assert not whole or [bool(event.text) for event in events] == [False, True]
        assert [bool(event.result) for event in events] == [False] * (len(events) - 1) + [True]
        return [event.text for event in events if event.text]

    at_once, patient = asyncio.run(texts(0)), asyncio.run(texts(3600))
    # The first and the last are not held back.
    assert len(patient) == 2 < len(at_once)
    assert "".join(patient) == "".join(at_once)
    assert asyncio.run(texts(0, whole=True)) == ["".join(at_once)]


def test_who_leaves_between_two_texts_leaves_nothing(
    language: LanguageHalf, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        bridge = EngineBridge(Limits(), 1, 3600)
        stream = bridge.stream(_generation(language, 500))
        while not (await anext(stream)).text:
            pass
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        caplog.clear()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(10):
            while not any(r.message.startswith("idle") for r in caplog.records):
                await asyncio.sleep(0.01)
        workload = bridge.workload
        assert (workload.running, workload.waiting, workload.kv_usage) == (0, 0, 0)

    caplog.set_level(logging.DEBUG, "luvc_core.engine.engine_thread")
    asyncio.run(run())
