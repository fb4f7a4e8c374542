"""A byte-level BPE tokenizer in which every word of the rendered tasks is one token."""

from __future__ import annotations

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from ..tasks.words import all_words

CHAT = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
QWEN2_VL_MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def build_tokenizer(marks: tuple[str, ...] = QWEN2_VL_MARKS) -> Qwen2Tokenizer:
    """Build a tokenizer whose merges run until no pair is left.

    So each word ends as one token, with a space before it or not.

    Args:
        marks: special tokens for visual tokens; their ids come last and are the same for all
            families.
    """
    specials = (*CHAT, *marks)
    trainee = Tokenizer(BPE())
    trainee.normalizer = normalizers.NFC()
    trainee.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainee.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=100_000,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    words = all_words()
    trainee.train_from_iterator([*words, *(f" {word}" for word in words)], trainer)
    trainee.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in specials]
    )
    tokenizer = Qwen2Tokenizer(
        tokenizer_object=trainee,
        vocab=trainee.get_vocab(with_added_tokens=False),
        merges=_merges(trainee),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=list(specials[1:]),
        model_max_length=4096,
    )

    return tokenizer


def _merges(trainee: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(trainee.to_str())["model"]["merges"]]
