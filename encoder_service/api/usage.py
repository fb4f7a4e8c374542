"""Usage of a request: its token counts, its times, and the bytes that compression saved."""

import time
from dataclasses import dataclass

from luvc.v1 import encoder_pb2, usage_pb2
from luvc.wire.fields import duration_of, seconds_of
from luvc.wire.traces import Span

from encoder_service.api.plan import RequestPlan
from encoder_service.encoding.pipeline import EncodedMedia
from encoder_service.transfer.decoder_call import DecoderCall
from luvc_core.runtime.deadline import Deadline
from luvc_core.runtime.request_timeline import RequestTimeline


@dataclass(frozen=True)
class RequestState:
    """A Generate request in progress, with the state of its call."""

    request: encoder_pb2.GenerateRequest
    request_id: str
    deadline: Deadline
    tenant: str
    span: Span
    timeline: RequestTimeline


def usage_of(
    state: RequestState,
    plan: RequestPlan,
    encoded: EncodedMedia,
    call: DecoderCall,
    decoded: usage_pb2.Usage,
) -> usage_pb2.Usage:
    """Complete the decoder's usage by what only the encoder service knows.

    Args:
        state: the request and its moments; the last piece of its answer has come.
        plan: the compression applied.
        encoded: its visual tokens.
        call: how they travelled.
        decoded: the usage that the decoder sent.
    """
    usage = usage_pb2.Usage()
    usage.CopyFrom(decoded)
    usage.source_visual_token_count = sum(t.source_token_count for t in encoded.tokens)
    usage.merged_visual_token_count = sum(t.token_count for t in encoded.tokens)
    usage.wire_byte_count = call.wire_bytes
    usage.uncompressed_byte_count = sum(t.uncompressed_byte_count for t in encoded.tokens)
    usage.frame_count = sum(t.video.count for t in encoded.tokens if t.video)
    usage.reused_media_count = encoded.reused_count
    usage.media_kept = encoded.kept
    usage.fetched_media_count = call.fetched_count
    degradations = {
        "compressed_more": plan.compressed_more,
        "store_failed": bool(encoded.store_problem),
        "sent_along": call.resent_inline,
    }
    usage.degradations.extend(name for name, happened in degradations.items() if happened)
    usage.profile = plan.compression.name
    for name, seconds in _stage_seconds(state, encoded, decoded).items():
        getattr(usage.times, name).CopyFrom(duration_of(max(0.0, seconds)))
    return usage


def _stage_seconds(
    state: RequestState, encoded: EncodedMedia, decoded: usage_pb2.Usage
) -> dict[str, float]:
    """Return the times that the decoder does not know, by their names in luvc.v1.StageTimes.

    The clocks of both services each measure differences only, so that they need not agree.
    """
    timeline = state.timeline
    first_text = seconds_of(decoded.times.time_to_first_token)
    # A whole answer comes in one piece, when the decoder has all of it.
    whole = state.request.whole_answer
    first_sent = seconds_of(decoded.times.total) if whole else first_text
    waited_for_first = timeline.first_piece - timeline.decoder_called
    transfer = max(0.0, waited_for_first - first_sent)
    before_decoder = timeline.decoder_called - timeline.arrival
    stages = {
        "transfer": transfer,
        "time_to_first_token": before_decoder + transfer + first_text,
        "total": timeline.elapsed,
    }
    if encoded.times:
        stages["media"] = encoded.times.media
        stages["encode_queue"] = encoded.times.queue
        stages["encode"] = encoded.times.encode
    return stages


def note_encoding(span: Span, encoded: EncodedMedia) -> None:
    """Note token counts and stages of encoding in its span.

    The stages are those of the image or video that was ready last, which has just happened.
    """
    span.set_attributes(
        luvc__source_tokens=sum(tokens.source_token_count for tokens in encoded.tokens),
        luvc__merged_tokens=sum(tokens.token_count for tokens in encoded.tokens),
        luvc__reused_media=encoded.reused_count,
    )
    if times := encoded.times:
        start = time.monotonic() - times.total
        span.stage("media", start, times.media)
        span.stage("encode_queue", start + times.media, times.queue)
        span.stage("tower", start + times.media + times.queue, times.encode)
