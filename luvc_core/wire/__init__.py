"""Protobuf messages to dataclasses and back: the writer and the reader of each, side by side.

Both services use it. `read_x(message, field, ...)` checks a message and returns a dataclass; errors
name the part of the request by `field`. `write_x(dataclass, ...)` returns a message. No other
package of luvc_core knows luvc.v1, and this one knows neither grpc nor ray.

Modules:
    identity: which model made visual tokens.
    vision_tokens: the visual tokens of one image or video.
    tensors: tensors, and the checksum over those of one VisionTokens message.
    grids: pieces and their grids, and the frames of a video.
    selection: which visual tokens the LLM sees.
    chat: conversations and sampling parameters.
    compression: profiles and settings.
    generate: requests of both services, and the usage that answers them.
"""
