"""Merging and pruning of videos: frame by frame, at the sizes of the checkpoints people use too."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.common import family_configs
from luvc_core.chat import Message, SamplingParams
from luvc_core.compression.settings import Ramp, SpuSettings
from luvc_core.engine.prefill import layer_counts, prefill
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.errors import InvalidSettings
from luvc_core.models.base import LanguageHalf, VisionHalf
from luvc_core.models.registry import load_vision
from luvc_core.visual_tokens.vision_tokens import Grid, VisionTokens
from tests.core.models.test_families import HALF, OFF, patches_of, run
from tests.core.models.test_video_families import noise_video, videos_of
from tests.support.checkpoints import ask, write_checkpoint
from tests.support.families import KITS, VIDEO_FAMILIES, Kit

pytestmark = pytest.mark.transformers

SPU = SpuSettings(Ramp(start=0.0))


def mixed(vision: VisionHalf) -> tuple[Message[VisionTokens], ...]:
    """Make a conversation of a video and an image, several turns, text everywhere."""
    (video,) = vision.encode(videos_of(vision, (84, 140)), OFF)
    (image,) = vision.encode(patches_of(vision, (112, 112)), OFF)
    answer = Message[VisionTokens]("assistant", ("It falls.",))
    return (*ask("Look: ", video, " What?"), answer, *ask("And ", image, "?"))


@VIDEO_FAMILIES
def test_each_frame_merges_by_itself_to_half_its_sides(vision: VisionHalf) -> None:
    patches = videos_of(vision, (140, 140))[0]
    plain, merged = (vision.encode([patches], oim)[0] for oim in (OFF, HALF))
    (before,), (after,) = plain.pieces, merged.pieces
    assert (after.source_grid, after.separators) == (before.grid, before.separators)
    assert after.grid.frames == before.grid.frames
    for side, source in ((after.grid.rows, before.grid.rows),
                         (after.grid.columns, before.grid.columns)):  # fmt: skip
        assert side in (source // 2, (source + 1) // 2)
    assert merged.sizes.sum().item() == pytest.approx(before.grid.token_count)
    frame = after.grid.rows * after.grid.columns
    shown = merged.positions[merged.sizes > 0]
    assert torch.equal(shown[:, 0], torch.arange(after.grid.frames).repeat_interleave(frame))
    # Another last frame changes nothing of those before it.
    changed = dataclasses.replace(patches, pixels=patches.pixels.clone())
    last = len(changed.pixels) // after.grid.frames
    changed.pixels[-last:] += torch.randn(changed.pixels[-last:].shape)
    other = vision.encode([changed], HALF)[0]
    kept = frame * (after.grid.frames - 1)
    torch.testing.assert_close(merged.embeddings[:kept], other.embeddings[:kept])
    assert not torch.allclose(merged.embeddings[kept:], other.embeddings[kept:])


@VIDEO_FAMILIES
def test_videos_do_not_depend_on_media_beside_them(vision: VisionHalf) -> None:
    patches = [*videos_of(vision, (112, 112), (84, 140)), *patches_of(vision, (112, 112))]
    patches.append(vision.preprocess_video(noise_video(6, (112, 112), 7)))
    together = vision.encode(patches, HALF)
    for tokens, own in zip(together, patches, strict=True):
        (alone,) = vision.encode([own], HALF)
        torch.testing.assert_close(tokens.embeddings, alone.embeddings, atol=1e-5, rtol=1e-5)
        assert tokens.pieces == alone.pieces


@VIDEO_FAMILIES
def test_what_a_tower_cannot_reach_is_refused_by_name(vision: VisionHalf) -> None:
    settings = dataclasses.replace(HALF, keep_rows=0.3, blocks=(0.5, 0.6))
    with pytest.raises(InvalidSettings, match=r"oim\.keep_rows.*allowed: \[0\.5, 1\]"):
        vision.encode(videos_of(vision, (112, 112)), settings)


@VIDEO_FAMILIES
@pytest.mark.parametrize("axis", ["grid", "raster"])
def test_pruning_takes_visual_tokens_and_no_text(
    axis: str, vision: VisionHalf, language: LanguageHalf
) -> None:
    messages, spu = mixed(vision), dataclasses.replace(SPU, axis=axis)
    prompt = language.tokenize(messages)
    text = int((~prompt.visual).sum())
    counts = [sum(own) for own in zip(*layer_counts(prompt.images, spu, 5), strict=True)]
    _, caches = prefill(language, prompt, spu, lambda: None)
    assert [cache.length - text for cache in caches] == counts
    assert counts[0] == sum(p.token_count for p in prompt.images)
    assert counts[-1] == 0
    generation = RequestProcessor(language).start(
        Request(messages, SamplingParams(max_tokens=6), spu)
    )
    run(generation)
    assert len(generation.tokens) > 1


@VIDEO_FAMILIES
def test_text_goes_on_as_if_nothing_had_been_merged(
    vision: VisionHalf, language: LanguageHalf
) -> None:
    patches = videos_of(vision, (140, 140))
    (plain,) = vision.encode(patches, OFF)
    (merged,) = vision.encode(patches, dataclasses.replace(HALF, llm_position="source"))
    before, after = (language.tokenize(ask("Look: ", t, " well?")) for t in (plain, merged))
    assert torch.equal(after.positions[~after.visual], before.positions[~before.visual])
    assert after.next_position == before.next_position
    inside = after.positions[after.visual]
    assert inside.min() >= before.positions[before.visual].min()
    assert inside.max() <= before.positions[before.visual].max()
    logits, _ = prefill(language, after, None, lambda: None)
    assert logits.isfinite().all()


def grown(name: str, tokens: int, **vision: Any) -> Kit:
    """Return a family at the image size of its published checkpoints, as thin as elsewhere."""
    kit = KITS[name]

    def config(text: dict[str, Any], tied: bool) -> Any:
        settings = kit.config(text, tied).to_dict()
        settings["vision_config"] |= vision
        settings["image_seq_length"] = tokens
        return type(kit.config(text, tied)).from_dict(settings)

    size = vision.get("image_size", 0)
    side = size[0] if isinstance(size, list) else size
    shape = {"size": {"height": side, "width": side}} if side else {}
    return dataclasses.replace(
        kit,
        config=config,
        preprocessing={**kit.preprocessing, **shape},
        video_preprocessing=family_configs.NORMALIZED | {"num_frames": 32} | shape,
    )


@pytest.mark.parametrize(
    ("kit", "size", "plain", "merged"),
    [
        (grown("internvl", 256, image_size=[448, 448], num_hidden_layers=2), (640, 360),
         Grid(32, 16, 16), Grid(32, 8, 8)),
        (grown("llava_onevision", 729, image_size=384, num_hidden_layers=2), (640, 360),
         Grid(32, 14, 14), Grid(32, 7, 7)),
        (grown("qwen2_vl", 0, depth=2), (640, 360), Grid(16, 13, 23), Grid(16, 7, 12)),
        (grown("qwen2_5_vl", 0, depth=2), (640, 360), Grid(16, 13, 23), Grid(16, 7, 12)),
    ],
    ids=lambda value: value.name if isinstance(value, Kit) else "",
)  # fmt: skip
def test_published_sizes(
    kit: Kit, size: tuple[int, int], plain: Grid, merged: Grid, tmp_path: Path
) -> None:
    vision = load_vision(str(write_checkpoint(tmp_path / kit.name, kit)), "cpu", "float32")
    patches = vision.preprocess_video(noise_video(32, size))
    (tokens,) = vision.encode([patches], HALF)
    assert (tokens.pieces[0].source_grid, tokens.pieces[0].grid) == (plain, merged)
    newline = kit.name == "llava_onevision"
    assert tokens.source_token_count == plain.token_count + newline
    assert tokens.token_count == merged.token_count + newline
