"""Check a Serve config against Ray's own models, which by themselves ignore unknown keys."""

import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from ray.serve.schema import ServeDeploySchema

from decoder_service.app import SERVICER_FUNCTIONS, build
from decoder_service.config import DecoderConfig
from luvc_core.runtime.cli_config import from_mapping

IMPORT_PATH = f"{build.__module__}:{build.__name__}"


def problems(config: dict[str, Any], name: str) -> Iterator[str]:
    """Find problems of the config of one application of ours."""
    for path in _unknown(ServeDeploySchema, config):
        yield f"{name}: {path}: Ray knows no such key"
    try:
        schema = ServeDeploySchema.model_validate(config)
    except ValidationError as error:
        yield f"{name}: {error}"
        return
    if len(schema.applications) != 1:
        yield f"{name}: {len(schema.applications)} applications"
        return
    (application,) = schema.applications
    if application.import_path != IMPORT_PATH:
        yield f"{name}: import_path is not {IMPORT_PATH}"
    if list(schema.grpc_options.grpc_servicer_functions) != SERVICER_FUNCTIONS:
        yield f"{name}: grpc_servicer_functions are not those of decoder_service/app.py"
    # Fields that have a default in Ray which would not do here.
    for section, key in (
        ("http_options", "port"), ("http_options", "host"), ("grpc_options", "port"),
        ("grpc_options", "request_timeout_s"),
    ):  # fmt: skip
        if key not in (config.get(section) or {}):
            yield f"{name}: {section}.{key} is missing"
    for key in ("proxy_location",):
        if key not in config:
            yield f"{name}: {key} is missing"
    if application.route_prefix != "/luvc" or application.name != "luvc":
        yield f"{name}: the application is not luvc under /luvc"
    try:
        settings = from_mapping(DecoderConfig, application.args)
    except (ValueError, TypeError) as error:
        yield f"{name}: args: {error}"
        return
    if (schema.grpc_options.request_timeout_s or 0) <= settings.timeout:
        yield f"{name}: Ray would end a stream before the replica's own deadline"


def settings_of(config: dict[str, Any]) -> DecoderConfig:
    """Return the decoder's settings of a config without problems."""
    return from_mapping(DecoderConfig, config["applications"][0]["args"])


def _unknown(model: type[BaseModel], data: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of keys that no field of the model, or of the models within it, takes."""
    if not isinstance(data, dict):
        return
    fields = {f.alias or name: f for name, f in model.model_fields.items()}
    for key, value in data.items():
        here = f"{path}/{key}"
        if key not in fields:
            yield here
            continue
        for inner in _models(fields[key].annotation):
            for item in value if isinstance(value, list) else [value]:
                yield from _unknown(inner, item, here)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the pydantic models that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models(part)]
