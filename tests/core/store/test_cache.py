"""Kept visual tokens: the blob round trip, keys, the bounded memory, one encode for many."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luvc_core.errors import DeadlineExceeded, InvalidMedia
from luvc_core.runtime.deadline import Deadline
from luvc_core.store.cache import CacheEntry, TokenCache
from luvc_core.store.keys import Recipe, image_key, video_key
from luvc_core.store.memory import MemoryStore
from luvc_core.visual_tokens.blob import BadValue, checksum_of, from_blob, to_blob
from luvc_core.visual_tokens.vision_tokens import Grid, Piece, Separators, VideoFrames, VisionTokens
from tests.wire.test_vision_tokens import IDENTITY, doubled, tokens

KEY = "k" * 64
GRIDS = st.builds(Grid, st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
PIECES = st.builds(doubled, GRIDS, st.sampled_from(get_args(Separators)))
VIDEOS = st.none() | st.builds(VideoFrames, st.integers(1, 99), st.floats(0, 9))


def same(one: VisionTokens, other: VisionTokens) -> bool:
    tensors = ("embeddings", "positions", "sizes")
    return all(
        torch.equal(getattr(one, f.name), getattr(other, f.name))
        and getattr(one, f.name).dtype == getattr(other, f.name).dtype
        if f.name in tensors
        else getattr(one, f.name) == getattr(other, f.name)
        for f in dataclasses.fields(VisionTokens)
    )


@given(
    pieces=st.lists(PIECES, min_size=1, max_size=3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    seed=st.integers(0, 9),
    video=VIDEOS,
)
def test_a_blob_gives_back_what_was_put_in(
    pieces: list[Piece], dtype: torch.dtype, seed: int, video: VideoFrames | None
) -> None:
    made = dataclasses.replace(tokens(*pieces, dtype=dtype, seed=seed), video=video)
    blob = to_blob(made, KEY)
    assert same(from_blob(blob, KEY), made)
    assert len(checksum_of(blob)) == 64


BLOB = to_blob(tokens(), KEY)


@given(place=st.integers(0, len(BLOB) - 1), flip=st.integers(1, 255))
def test_any_changed_byte_makes_a_blob_bad(place: int, flip: int) -> None:
    changed = bytearray(BLOB)
    changed[place] ^= flip
    with pytest.raises(BadValue):
        from_blob(bytes(changed), KEY)


@given(length=st.integers(0, len(BLOB) - 1))
def test_a_blob_cut_short_is_bad(length: int) -> None:
    with pytest.raises(BadValue):
        from_blob(BLOB[:length], KEY)


@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_bad(data: bytes) -> None:
    for blob in (data, len(data).to_bytes(8, "little") + data):
        with pytest.raises(BadValue):
            from_blob(blob, KEY)


def test_a_blob_of_another_key_or_of_no_numbers_is_bad() -> None:
    with pytest.raises(BadValue, match="another key"):
        from_blob(BLOB, "x" * 64)
    made = tokens()
    made.embeddings[0, 0] = float("nan")
    with pytest.raises(BadValue, match="not finite"):
        from_blob(to_blob(made, KEY), KEY)


RECIPE = Recipe(IDENTITY, "float32", (128, 1))


def test_everything_tokens_depend_on_is_in_the_key() -> None:
    media, merge = "a" * 64, "b" * 64
    keys = [
        image_key(RECIPE, media, merge, "t", True),
        image_key(RECIPE, media, merge, "t", False),
        image_key(RECIPE, media, merge, "u", True),
        image_key(RECIPE, media, "c" * 64, "t", True),
        image_key(RECIPE, "c" * 64, merge, "t", True),
        image_key(dataclasses.replace(RECIPE, dtype="bfloat16"), media, merge, "t", True),
        video_key(RECIPE, media, merge, "t"),
        video_key(RECIPE, media, merge, "u"),
        video_key(dataclasses.replace(RECIPE, video_limits=(64, 1)), media, merge, "t"),
    ]
    for field in dataclasses.fields(IDENTITY):
        value = getattr(IDENTITY, field.name)
        other = dataclasses.replace(IDENTITY, **{field.name: value + value})
        keys.append(image_key(dataclasses.replace(RECIPE, identity=other), media, merge, "t", True))
    assert len(set(keys)) == len(keys)
    assert all(len(key) == 64 for key in keys)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 60)), max_size=40))
async def test_memory_is_bounded_and_keeps_the_latest(puts: list[tuple[int, int]]) -> None:
    store = MemoryStore(100, 50)
    for key, size in puts:
        kept = await store.put(str(key), bytes(size))
        assert kept == (size <= 50) == (await store.get(str(key)) is not None)
        sizes = [len(await store.get(str(k)) or b"") for k in range(6)]
        assert store.byte_count == sum(sizes) <= 100


async def test_what_was_used_last_leaves_last() -> None:
    store = MemoryStore(100, 50)
    for key in "ab":
        await store.put(key, bytes(50))
    await store.get("a")
    await store.put("c", bytes(50))
    assert await store.get("b") is None
    assert await store.get("a") == bytes(50)


async def inline(work: Callable[..., Any], *arguments: Any) -> Any:
    return work(*arguments)


def cache_over(store: MemoryStore | None) -> TokenCache:
    return TokenCache(store, IDENTITY, torch.bfloat16, inline)


class FakeEncoder:
    """Makes tokens once it is told to, and counts."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.count = 0
        self.left = 0

    async def make(self) -> VisionTokens:
        self.count += 1
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return tokens()


def gather(*work: Awaitable[CacheEntry]) -> "asyncio.Future[list[CacheEntry | BaseException]]":
    return asyncio.gather(*work, return_exceptions=True)


async def test_many_who_ask_at_once_get_one_encode_and_later_ones_the_stored() -> None:
    cache, fake_encoder = cache_over(MemoryStore(10**6, 10**6)), FakeEncoder()
    asked = gather(*(cache.get(KEY, fake_encoder.make, Deadline.after(20)) for _ in range(64)))
    await fake_encoder.begun.wait()
    fake_encoder.go.set()
    entries = await asked
    assert [e.origin for e in entries].count("encoded") == 1
    assert [e.origin for e in entries].count("joined") == 63
    later = await cache.get(KEY, fake_encoder.make, Deadline.after(20))
    assert later.origin == "stored"
    assert same(later.tokens, tokens())
    assert fake_encoder.count == cache.counts.encoded == 1


async def test_without_a_store_equal_requests_of_one_moment_still_share() -> None:
    cache, fake_encoder = cache_over(None), FakeEncoder()
    fake_encoder.go.set()
    await gather(*(cache.get(KEY, fake_encoder.make, Deadline.after(20)) for _ in range(9)))
    assert fake_encoder.count == 1
    await cache.get(KEY, fake_encoder.make, Deadline.after(20))
    assert fake_encoder.count == 2


async def test_work_goes_on_for_those_who_stay_and_ends_when_all_have_left() -> None:
    cache, fake_encoder = cache_over(None), FakeEncoder()
    asked = [
        asyncio.create_task(cache.get(KEY, fake_encoder.make, Deadline.after(20))) for _ in range(3)
    ]
    await fake_encoder.begun.wait()
    for task in asked[:2]:
        task.cancel()
    await asyncio.wait(asked[:2])
    fake_encoder.go.set()
    assert (await asked[2]).origin == "joined"
    fake_encoder.go.clear()
    fake_encoder.begun.clear()
    last = asyncio.create_task(cache.get(KEY, fake_encoder.make, Deadline.after(20)))
    await fake_encoder.begun.wait()
    last.cancel()
    await asyncio.wait([last])
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=5)
    assert (fake_encoder.count, fake_encoder.left) == (2, 1)


async def test_a_failed_encode_fails_for_all_and_is_tried_again() -> None:
    cache = cache_over(MemoryStore(10**6, 10**6))

    async def fail() -> VisionTokens:
        raise InvalidMedia("media[0]", "no picture")

    errors = await gather(*(cache.get(KEY, fail, Deadline.after(20)) for _ in range(3)))
    assert [type(e) for e in errors] == [InvalidMedia] * 3
    fake_encoder = FakeEncoder()
    fake_encoder.go.set()
    assert (await cache.get(KEY, fake_encoder.make, Deadline.after(20))).origin == "encoded"


async def test_work_ends_with_its_deadline() -> None:
    cache, fake_encoder = cache_over(None), FakeEncoder()
    with pytest.raises(DeadlineExceeded):
        await cache.get(KEY, fake_encoder.make, Deadline.after(0.01))
    assert fake_encoder.left == 1


@pytest.mark.parametrize("harm", ["flip", "cut", "other identity", "other key", "other dtype"])
async def test_a_bad_value_is_dropped_counted_and_made_again(harm: str) -> None:
    store, fake_encoder = MemoryStore(10**6, 10**6), FakeEncoder()
    cache, good = cache_over(store), to_blob(tokens(), KEY)
    other = dataclasses.replace(IDENTITY, vision_sha256="f" * 64)
    values = {
        "flip": good[:-3] + bytes([good[-3] ^ 4]) + good[-2:],
        "cut": good[:-1],
        "other identity": to_blob(dataclasses.replace(tokens(), identity=other), KEY),
        "other key": to_blob(tokens(), "x" * 64),
        "other dtype": to_blob(tokens(dtype=torch.float32), KEY),
    }
    await store.put(KEY, values[harm])
    fake_encoder.go.set()
    entry = await cache.get(KEY, fake_encoder.make, Deadline.after(20))
    assert (entry.origin, cache.counts.bad_values) == ("encoded", 1)
    assert same(entry.tokens, tokens())
    assert (await cache.get(KEY, fake_encoder.make, Deadline.after(20))).origin == "stored"
