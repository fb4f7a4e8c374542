"""Measure a video's bytes on the wire against bfloat16, and how many answers int8 keeps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks.tasks.question_files import file_questions
from luvc_core.calibrate.answer_questions import ask
from luvc_core.compression.profiles import BUILT_IN
from luvc_core.compression.prune_before_llm import prune_before_llm
from luvc_core.compression.settings import Compression, OimSettings, Ramp, SpuSettings
from luvc_core.engine.request_processor import RequestProcessor
from luvc_core.media_encoder import MediaEncoder
from luvc_core.models.registry import load_language, load_vision
from luvc_core.visual_tokens.int8 import from_int8, to_int8
from luvc_core.visual_tokens.vision_tokens import VisionTokens
from luvc_core.wire.vision_tokens import write_vision_tokens

_SPU = BUILT_IN.get("lossless").spu
COMPRESSIONS = (
    BUILT_IN.get("lossless"),
    BUILT_IN.get("balanced"),
    Compression("a fifth travels", spu=SpuSettings(Ramp(0.0, 0.8, first_keep=0.2))),
    # Few enough that eight times fewer bytes need no eight bits.
    Compression("less than an eighth travels", spu=SpuSettings(Ramp(0.0, 1.0, first_keep=0.115))),
    Compression("half of rows and columns", OimSettings(keep_rows=0.5, keep_columns=0.5), _SPU),
)
KINDS = ("movement", "order", "change")


@dataclass(frozen=True)
class Row:
    """Videos under one compression, as they travel.

    Attributes:
        clips: how many.
        fewer: uncompressed bfloat16 bytes by bytes of the message.
        same: answers as with bfloat16 under the same compression.
        loyalty: their share.
        as_off: share of answers as without any compression.
    """

    profile: str
    codec: str
    clips: int
    fewer: float
    same: int
    loyalty: float
    as_off: float


def measure(model: str, per_kind: int) -> list[Row]:
    """Ask so many questions of each kind, each about a video of its own."""
    encoder, engine = MediaEncoder(load_vision(model)), RequestProcessor(load_language(model))
    asked = [q for kind in KINDS for q in file_questions(kind, per_kind)]
    tallies = {(c.name, codec): _Tally() for c in COMPRESSIONS for codec in ("bfloat16", "int8")}
    for question in tqdm(asked, unit="clip"):
        patches = [encoder.prepare(file, "clip") for file in question.files]
        unmerged = encoder.encode(patches, OimSettings())
        plain = ask(engine, [_in_bf16(t) for t in unmerged], question.question, None).text
        for compression in COMPRESSIONS:
            oim = compression.oim
            encoded = unmerged if oim.is_off else encoder.encode(patches, oim)
            whole = [prune_before_llm(_in_bf16(tokens), compression.spu) for tokens in encoded]
            truth = ask(engine, whole, question.question, compression.spu).text
            small = [_through_int8(tokens) for tokens in whole]
            text = ask(engine, small, question.question, compression.spu).text
            tallies[compression.name, "bfloat16"].add(whole, False, True, truth == plain)
            tallies[compression.name, "int8"].add(whole, True, text == truth, text == plain)
    return [tally.row(*names) for names, tally in tallies.items()]


class _Tally:
    def __init__(self) -> None:
        self._count = self._same = self._as_off = self._bytes = self._uncompressed = 0

    def add(self, tokens: Sequence[VisionTokens], in_int8: bool, same: bool, as_off: bool) -> None:
        self._count += 1
        self._same += same
        self._as_off += as_off
        messages = [write_vision_tokens(t, in_int8, sparse=True) for t in tokens]
        self._bytes += sum(len(message.SerializeToString()) for message in messages)
        self._uncompressed += sum(t.uncompressed_byte_count for t in tokens)

    def row(self, profile: str, codec: str) -> Row:
        fewer = round(self._uncompressed / self._bytes, 2)
        loyalty = round(self._same / self._count, 4)
        as_off = round(self._as_off / self._count, 4)
        return Row(profile, codec, self._count, fewer, self._same, loyalty, as_off)


def _in_bf16(tokens: VisionTokens) -> VisionTokens:
    return replace(tokens, embeddings=tokens.embeddings.to(torch.bfloat16))


def _through_int8(tokens: VisionTokens) -> VisionTokens:
    """Return what the decoder reads of tokens that travel as int8."""
    return replace(tokens, embeddings=from_int8(*to_int8(tokens.embeddings)))
