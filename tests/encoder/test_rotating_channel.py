"""Connections grow old: what comes after an upgrade is found, what was under way ends in peace."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from luvc import AsyncClient
from luvc.local_stack.free_port import free_port

from benchmarks.common.tcp_relay import Relay
from luvc_core.models.base import VisionHalf
from tests.end_to_end.test_metrics import at, scrape
from tests.support.in_process_halves import decoder, encoder


async def test_an_encoder_finds_the_decoder_that_took_over(
    checkpoint: Path, vision: VisionHalf
) -> None:
    async with decoder(checkpoint) as (old, first), decoder(checkpoint) as (new, second):
        relay = Relay(old)
        async with (
            relay.listening() as address,
            encoder(vision, address, decoder_connection_age=0.5) as (front, _),
            AsyncClient(front) as client,
        ):
            await client.ask("What?", max_tokens=2)
            first.flowing.clear()
            under_way = client.stream("Tell me everything.", max_tokens=200)
            text = [await anext(aiter(under_way))]
            relay.target = new
            await asyncio.sleep(0.6)
            await client.ask("And now?", max_tokens=2)
            assert (len(first.requests), len(second.requests)) == (2, 1)
            # The old answer goes on where it began.
            assert relay.open[old] == 1
            first.flowing.set()
            answer = await under_way.answer()
            assert answer.text.startswith(text[0])
            assert answer.usage.completion_token_count > 50
            await until(lambda: relay.open[old] == 0)
            assert relay.open[new] == 1


async def test_clients_take_encoders_in_turn_and_do_without_one(
    checkpoint: Path, vision: VisionHalf
) -> None:
    async with decoder(checkpoint) as (back, _), AsyncExitStack() as held:
        addresses, ports = [], [free_port(), free_port()]
        for port in ports:
            front, _ = await held.enter_async_context(encoder(vision, back, metrics_port=port))
            addresses.append(front)
        async with AsyncClient(f"ipv4:{','.join(addresses)}") as client:
            end = time.monotonic() + 30
            while not all(map(answered, ports)) and time.monotonic() < end:
                await client.ask("What?", max_tokens=1)
            assert all(map(answered, ports))
            await held.aclose()
            async with encoder(vision, back, port=int(addresses[0].rpartition(":")[2])):
                await client.ask("And now, with one of them?", max_tokens=1)


def answered(metrics_port: int) -> float:
    return at(scrape(metrics_port), "luvc_requests_total", method="Generate", code="OK")


async def until(ready: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
