"""One request's call of the decoder: visual tokens to it, the answer back."""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass

from luvc.v1 import decoder_pb2
from luvc.wire.fields import duration_of
from luvc.wire.status import reason_of
from luvc.wire.traces import Span

from encoder_service.errors import DecoderRefused
from encoder_service.transfer.decoder_client import DecoderClient
from encoder_service.transfer.token_sender import TokenPayload, TokenSender, TransferOptions
from luvc_core.errors import TokensLost
from luvc_core.runtime.deadline import Deadline
from luvc_core.runtime.log_format import log_extra
from luvc_core.store.cache import CacheEntry

log = logging.getLogger(__name__)

_TOKENS_LOST = reason_of(TokensLost(""))
Pieces = AsyncGenerator[decoder_pb2.DecoderServiceGenerateResponse]


@dataclass
class DecoderCall:
    """A call of the decoder that sends tokens again, inline, where it could not fetch them.

    Attributes:
        request: what to send; its visual tokens are filled in here.
        entries: the visual tokens, in reading order.
        options: how they may travel.
        deadline: when the answer has to be complete.
        span: the trace of the request.
        may_resend: whether tokens that the decoder lost may be sent again.
        fetched_count: of how many images and videos the decoder fetched the tokens.
        wire_bytes: bytes of the tokens, as they travelled first.
        resent_inline: whether they had to be sent again.
    """

    request: decoder_pb2.DecoderServiceGenerateRequest
    entries: Sequence[CacheEntry]
    options: TransferOptions
    deadline: Deadline
    span: Span
    may_resend: bool
    fetched_count: int = 0
    wire_bytes: int = 0
    resent_inline: bool = False

    async def pieces(self, token_sender: TokenSender, decoder: DecoderClient) -> Pieces:
        """Send the tokens and stream the answer. Raises what `DecoderClient.generate` raises."""
        with ExitStack() as holds:
            payload = await token_sender.prepare_payload(
                self.entries, self.options, self.deadline, holds
            )
            self.fetched_count, self.wire_bytes = payload.reference_count, payload.byte_count
            try:
                async with aclosing(self._send(payload, decoder)) as pieces:
                    async for piece in pieces:
                        # The decoder answers: it has the tokens, and need not fetch them any more.
                        holds.close()
                        yield piece
                return
            except DecoderRefused as refusal:
                if not self._lost_tokens(refusal):
                    raise
                request_id = self.request.request_id
                log.warning("request %s: %s", request_id, refusal, extra=log_extra(request_id))
        self.fetched_count, self.resent_inline = 0, True
        payload = await token_sender.inline_payload(self.entries, self.deadline, self.options)
        self.request.timeout.CopyFrom(duration_of(self.deadline.seconds_left))
        async with aclosing(self._send(payload, decoder)) as pieces:
            async for piece in pieces:
                yield piece

    def _send(self, payload: TokenPayload, decoder: DecoderClient) -> Pieces:
        del self.request.vision_tokens[:]
        self.request.vision_tokens.extend(payload.messages)
        return decoder.generate(self.request, self.deadline, self.span)

    def _lost_tokens(self, refusal: DecoderRefused) -> bool:
        """Return whether sending the tokens inline would help, and is allowed."""
        lost = self.fetched_count > 0 and refusal.status.details.reason == _TOKENS_LOST
        return lost and self.may_resend
