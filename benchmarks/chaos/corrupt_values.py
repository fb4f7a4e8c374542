"""Change values in Redis in ways that a check may miss."""

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import cast

from benchmarks.common.redis_server import RestartableRedis
from luvc_core.visual_tokens.blob import BadValue, from_blob, to_blob

PREFIX = b"luvc:1:"


def flip(store: RestartableRedis) -> None:
    """Flip one bit anywhere in each value."""
    _change(store, _flipped)


def cut(store: RestartableRedis) -> None:
    """Cut the last bytes off each value."""
    _change(store, lambda key, value: value[: random.randrange(len(value))] or b"x")


def renamed(store: RestartableRedis) -> None:
    """Write each value again, whole and with a right checksum, as if another model had made it."""

    def change(key: str, value: bytes) -> bytes:
        tokens = from_blob(value, key)
        other = replace(tokens.identity, vision_sha256="0" * 64, projector_sha256="0" * 64)
        return to_blob(replace(tokens, identity=other), key)

    _change(store, change)


def swapped(store: RestartableRedis) -> None:
    """Put each value, whole, under the key of another one."""
    keys = store.values
    values = [store.client.get(key) for key in keys]
    for key, value in zip(keys, values[1:] + values[:1], strict=True):
        if value:
            store.client.set(key, value)


HARMS: dict[str, Callable[[RestartableRedis], None]] = {
    "bits flipped": flip,
    "cut short": cut,
    "another identity": renamed,
    "another's value": swapped,
}


def _flipped(key: str, value: bytes) -> bytes:
    place = random.randrange(len(value))
    return value[:place] + bytes([value[place] ^ 1 << random.randrange(8)]) + value[place + 1 :]


def _change(store: RestartableRedis, change: Callable[[str, bytes], bytes]) -> None:
    for key in store.values:
        # One that is harmed already, or has just been dropped, is left alone.
        with suppress(BadValue):
            if value := cast("bytes | None", store.client.get(key)):
                store.client.set(key, change(key.removeprefix(PREFIX).decode(), value))
