"""Client of LUVC: ask questions about images and videos over gRPC. Needs no torch.

from luvc import Client

with Client("localhost:50051") as client:
    print(client.ask("What colour is the car?", "car.jpg").text)
"""

from luvc.access import Tls
from luvc.aio import AsyncClient
from luvc.answers import Answer
from luvc.client import Client
from luvc.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    LuvcError,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from luvc.requests import Message

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "DeadlineExceeded",
    "FailedPrecondition",
    "InvalidArgument",
    "LuvcError",
    "Message",
    "NotFound",
    "ResourceExhausted",
    "Tls",
    "Unauthenticated",
    "Unavailable",
]
