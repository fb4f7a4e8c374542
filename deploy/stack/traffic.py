"""Ask questions that leave a trace in every metric: new images, refusals, store failures."""

import io
import itertools
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from luvc import Client, InvalidArgument, LuvcError
from PIL import Image

# At this temperature some answers have several pieces, with time between.
_TOKENS, _TEMPERATURE = 12, 2.0


@contextmanager
def traffic(endpoint: str) -> Iterator[list[str]]:
    """Ask without pause for the time of the block; yield what failed that should not have."""
    over, failures = threading.Event(), list[str]()
    thread = threading.Thread(target=_ask, args=(endpoint, over, failures), name="traffic")
    thread.start()
    try:
        yield failures
    finally:
        over.set()
        thread.join(120)


def _ask(endpoint: str, over: threading.Event, failures: list[str]) -> None:
    with Client(endpoint) as client:
        for number in itertools.count():
            if over.is_set():
                return
            try:
                stream = client.stream(
                    "What colour?",
                    image(number // 2),
                    max_tokens=_TOKENS,
                    temperature=_TEMPERATURE,
                    seed=number,
                    timeout=60,
                )
                _ = stream.answer
            except LuvcError as error:
                failures.append(str(error))
            try:
                client.ask("What is this?", b"no picture", timeout=60)
            except InvalidArgument:
                over.wait(0.2)


def image(seed: int) -> bytes:
    """Make a PNG of 448x448, another one for each seed."""
    image = Image.new("RGB", (448, 448), "white")
    draw = random.Random(seed)
    for _ in range(4):
        x, y = draw.randrange(0, 400, 56), draw.randrange(0, 400, 56)
        image.paste(draw.choice(["red", "green", "blue", "black"]), (x, y, x + 48, y + 48))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
