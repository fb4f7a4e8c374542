"""Checks and tokenises requests, and starts their answers."""

from collections.abc import Callable
from dataclasses import replace

from luvc_core.chat import check_conversation
from luvc_core.compression.settings import SpuSettings
from luvc_core.engine.generation import Generation
from luvc_core.engine.pruning_cost import pruning_pays_off
from luvc_core.engine.requests import Request
from luvc_core.errors import PromptTooLong
from luvc_core.models.base import LanguageHalf
from luvc_core.visual_tokens.identity import check_identity


class RequestProcessor:
    """Starts answers. Keeps nothing of any request.

    Attributes:
        language: the model.
    """

    def __init__(self, language: LanguageHalf, auto_pruning: bool = False) -> None:
        """Serve one model.

        auto_pruning: whether SPU is left out of requests that are too small for it to pay. They
        then get the tokens that they get without it, and their results say so.
        """
        self.language = language
        self._auto_pruning = auto_pruning

    def start(self, request: Request, check: Callable[[], None] = lambda: None) -> Generation:
        """Check and tokenise a request; nothing is computed yet. Any thread may call it.

        Args:
            request: what is asked.
            check: called between layers of the prefill and before every step; what it raises ends
                the answer.

        Raises:
            InvalidInput: for a conversation or images that cannot be answered.
            InvalidSettings: for a schedule that is for another depth.
            PromptTooLong: when the context has no room for the prompt and one token.
            IdentityMismatch: when visual tokens come from another model than this one.
        """
        check_conversation(request.messages)
        prompt = self.language.tokenize(request.messages)
        for image in prompt.images:
            check_identity(image.identity, self.language.identity)
        max_length = self.language.context_length - 1
        if prompt.length > max_length:
            raise PromptTooLong(prompt.length, max_length)
        spu = request.spu
        # A schedule for another depth is refused even where it would not be used.
        leave_out = (
            self._auto_pruning
            and isinstance(spu, SpuSettings)
            and bool(prompt.images)
            and not pruning_pays_off(self.language, prompt, spu)
        )
        if leave_out:
            request = replace(request, spu=None)
        return Generation(self.language, request, prompt, check, leave_out)
