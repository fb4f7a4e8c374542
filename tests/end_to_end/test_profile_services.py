"""Both halves with a profile file: what a request may name, and what is applied."""

from pathlib import Path

import grpc

from luvc_core.compression.profile_files import to_toml
from luvc_core.compression.profiles import PROFILES
from luvc_core.compression.settings import Compression, OimSettings, Ramp, SpuSettings
from luvc_core.models.base import VisionHalf
from tests.end_to_end.test_references import refusal
from tests.support.asking import IMAGES, TIMEOUT, ask, named
from tests.support.in_process_halves import decoder, encoder, pieces_of

OIM = OimSettings(keep_rows=0.5, keep_columns=0.5)
SPU = SpuSettings(Ramp(0.0, 0.5, first_keep=0.4), "norm")
OWN = [Compression("receipts", OIM, SPU), Compression("untouched")]


async def test_a_request_names_a_profile_of_the_file(
    vision: VisionHalf, checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "own.toml"
    path.write_text(to_toml(OWN, "A comment."))
    async with (
        decoder(checkpoint, profiles=str(path)) as (back, replica),
        encoder(vision, back, profiles=str(path), profile="untouched") as (_, front),
        encoder(vision, back) as (_, plain),
    ):
        request = ask(IMAGES[0], "What is it?", settings=named("receipts"))
        usage = (await pieces_of(front.Generate(request, timeout=TIMEOUT)))[-1].usage
        assert usage.profile == "receipts"
        assert usage.merged_visual_token_count <= 0.5 * usage.source_visual_token_count
        counts = SPU.layer_counts(5, usage.merged_visual_token_count)
        assert tuple(usage.layer_visual_token_counts) == counts
        # The decoder was sent the settings, not the name.
        assert replica.requests[-1].spu.ramp.end == 0.5

        request = ask(IMAGES[0], "What is it?")
        usage = (await pieces_of(front.Generate(request, timeout=TIMEOUT)))[-1].usage
        assert usage.profile == "untouched"
        assert usage.merged_visual_token_count == usage.source_visual_token_count
        request = ask(IMAGES[0], "What is it?", settings=named("max"))
        usage = (await pieces_of(front.Generate(request, timeout=TIMEOUT)))[-1].usage
        assert usage.profile == "max"

        code, text, details = await refusal(
            front.Generate(ask("x", settings=named("tickets")), timeout=TIMEOUT)
        )
        assert (code, details.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_SETTINGS")
        assert f"allowed: {', '.join([*PROFILES, 'receipts', 'untouched'])}" in text
        # Another encoder in the same process offers what it was given.
        code, text, _ = await refusal(
            plain.Generate(ask("x", settings=named("receipts")), timeout=TIMEOUT)
        )
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert text.endswith(f"allowed: {', '.join(PROFILES)}")
