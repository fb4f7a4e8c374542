"""The calls of grpc.health.v1.Health."""

from collections.abc import AsyncGenerator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from luvc.v1 import decoder_pb2
from ray.serve.grpc_util import RayServegRPCContext

SERVICE: str = decoder_pb2.DESCRIPTOR.services_by_name["DecoderService"].full_name


class Health:
    """Says that the replica serves: one that does not cannot answer at all."""

    async def Check(
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> health_pb2.HealthCheckResponse:
        """Answer whether a service serves."""
        if request.service not in ("", SERVICE):
            grpc_context.set_code(grpc.StatusCode.NOT_FOUND)
            grpc_context.set_details("unknown service")
            return health_pb2.HealthCheckResponse()
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)

    async def List(self, request: Any) -> Any:
        """Answer which services serve."""
        serving = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        return health_pb2.HealthListResponse(statuses={"": serving, SERVICE: serving})

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, grpc_context: RayServegRPCContext
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse]:
        """Refuse to watch, as the protocol allows.

        A watch would take one of the calls that Ray hands to a replica, and keep a replica that
        drains alive, for ever.
        """
        grpc_context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        grpc_context.set_details("use Check")
        yield health_pb2.HealthCheckResponse()
