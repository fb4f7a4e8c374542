"""What a request was, took and saved."""

import time
from dataclasses import dataclass, field

from luvc.v1 import encoder_pb2, usage_pb2
from luvc.wire.fields import duration_of, seconds_of
from luvc.wire.traces import Span

from encoder_service.encoding.pipeline import Encoded
from luvc_core.compression.settings import Compression
from luvc_core.runtime.deadline import Deadline


@dataclass
class RequestState:
    """A request on its way; moments are on the monotonic clock, in seconds."""

    request: encoder_pb2.GenerateRequest
    request_id: str
    arrival: float
    deadline: Deadline
    tenant: str
    span: Span
    called: float = 0.0
    first: float = 0.0
    fetched_count: int = 0
    wire_bytes: int = 0
    waited: bool = False
    degradations: list[str] = field(default_factory=list)


def usage_of(
    answer: RequestState, decoded: usage_pb2.Usage, encoded: Encoded, compression: Compression
) -> usage_pb2.Usage:
    """The decoder's accounts, completed by what only the front door knows."""
    usage = usage_pb2.Usage()
    usage.CopyFrom(decoded)
    usage.source_visual_token_count = sum(t.source_token_count for t in encoded.tokens)
    usage.merged_visual_token_count = sum(t.token_count for t in encoded.tokens)
    usage.wire_byte_count = answer.wire_bytes
    usage.uncompressed_byte_count = sum(t.uncompressed_byte_count for t in encoded.tokens)
    usage.frame_count = sum(t.video.count for t in encoded.tokens if t.video)
    usage.reused_media_count = encoded.reused_count
    usage.media_kept = encoded.kept
    usage.fetched_media_count = answer.fetched_count
    usage.degradations.extend(answer.degradations)
    usage.profile = compression.name
    times = usage.times
    # Both clocks measure only spans of their own, so that they need not agree.
    first_text = seconds_of(decoded.times.time_to_first_token)
    whole = answer.request.whole_answer
    first_sent = seconds_of(decoded.times.total) if whole else first_text
    transfer = max(0.0, answer.first - answer.called - first_sent)
    spans = {
        "transfer": transfer,
        "time_to_first_token": answer.called - answer.arrival + transfer + first_text,
        "total": time.monotonic() - answer.arrival,
    }
    if encoded.spans:
        spans["media"] = encoded.spans.media
        spans["encode_queue"] = encoded.spans.queue
        spans["encode"] = encoded.spans.encode
    for name, seconds in spans.items():
        getattr(times, name).CopyFrom(duration_of(max(0.0, seconds)))
    return usage


def tell(span: Span, encoded: Encoded) -> None:
    """What encoding came to, for its span. Stages are those of the medium that was ready last."""
    span.note(
        luvc__source_tokens=sum(tokens.source_token_count for tokens in encoded.tokens),
        luvc__merged_tokens=sum(tokens.token_count for tokens in encoded.tokens),
        luvc__reused_media=encoded.reused_count,
    )
    if spans := encoded.spans:
        start = time.monotonic() - spans.total
        span.stage("media", start, spans.media)
        span.stage("encode_queue", start + spans.media, spans.queue)
        span.stage("tower", start + spans.media + spans.queue, spans.encode)
