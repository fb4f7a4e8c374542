"""Requests checked and turned into answers that can be worked on."""

from collections.abc import Callable
from dataclasses import replace

from luvc_core.chat import check_conversation
from luvc_core.compression.settings import SpuSettings
from luvc_core.engine.generation import Generation
from luvc_core.engine.pruning_cost import pruning_pays_off
from luvc_core.engine.requests import Event, FinishReason, Request, Result
from luvc_core.errors import PromptTooLong
from luvc_core.models.base import LanguageHalf
from luvc_core.visual_tokens.identity import check_identity

__all__ = ["Event", "FinishReason", "Generation", "Request", "RequestProcessor", "Result"]


class RequestProcessor:
    """Starts answers. Keeps nothing of any request.

    thrifty: whether SPU is left out of requests too small for it to pay, which then get the tokens
    that they get without it; their results say so.
    """

    def __init__(self, language: LanguageHalf, thrifty: bool = False) -> None:
        self.language = language
        self._thrifty = thrifty

    def start(self, request: Request, check: Callable[[], None] = lambda: None) -> Generation:
        """Check and tokenise a request; nothing is computed yet. Any thread may call it.

        check: called between layers of the prefill and before every step; what it raises ends the
        answer. Raises InvalidInput, PromptTooLong or IdentityMismatch.
        """
        check_conversation(request.messages)
        prompt = self.language.tokenize(request.messages)
        for image in prompt.images:
            check_identity(image.identity, self.language.identity)
        longest = self.language.context_length - 1
        if prompt.length > longest:
            raise PromptTooLong(prompt.length, longest)
        spu = request.spu
        # A schedule for another depth is refused even where it would not be used.
        leave_out = (
            self._thrifty
            and isinstance(spu, SpuSettings)
            and bool(prompt.images)
            and not pruning_pays_off(self.language, prompt, spu)
        )
        if leave_out:
            request = replace(request, spu=None)
        return Generation(self.language, request, prompt, check, leave_out)
