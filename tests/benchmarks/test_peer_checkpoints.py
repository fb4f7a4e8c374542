"""The checkpoints that systems are compared on: ours loads them, and no answer ends early."""

from pathlib import Path

import pytest

from benchmarks.common import endless_checkpoints
from luvc_core.chat import Message, SamplingParams
from luvc_core.compression.settings import OimSettings
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.engine.requests import Request
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.registry import load_language, load_vision
from tests.support.checkpoints import encoded, noise_image

SMALL = {
    "text_config": endless_checkpoints.HALF_BILLION["text_config"]
    | {"hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 2,
       "num_attention_heads": 2, "vocab_size": 3000, "layer_types": ["full_attention"] * 2},
    "vision_config": {"depth": 2, "embed_dim": 64, "num_heads": 1, "hidden_size": 128},
}  # fmt: skip


@pytest.mark.parametrize("random", [False, True], ids=["embedded", "random"])
def test_a_checkpoint_answers_with_as_many_tokens_as_it_is_asked_for(
    random: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    if random:
        endless_checkpoints.half_billion(folder, SMALL)
    else:
        endless_checkpoints.embedded(folder)
    vision, language = (
        load(str(folder), "cpu", "float32") for load in (load_vision, load_language)
    )
    encoder = MediaEncoder(vision)
    image = encoder.prepare(encoded(noise_image(112, 112)), "")
    shown = encoder.encode([image], OimSettings())
    asked = Request(
        (Message("user", (*shown, "Is there a circle?")),), SamplingParams(max_tokens=12)
    )
    generation = RequestProcessor(language).start(asked)
    result = list(iter(generation.step, None))[-1].result
    assert result is not None
    assert (result.completion_token_count, result.finish_reason) == (12, "length")


def test_the_random_one_has_half_a_billion_parameters() -> None:
    text = endless_checkpoints.HALF_BILLION["text_config"]
    hidden, mlp = text["hidden_size"], text["intermediate_size"]
    keys = hidden * text["num_key_value_heads"] // text["num_attention_heads"]
    layer = 2 * hidden * (hidden + keys) + 3 * hidden * mlp
    count = text["num_hidden_layers"] * layer + text["vocab_size"] * hidden
    assert count == pytest.approx(0.49e9, rel=0.02)
