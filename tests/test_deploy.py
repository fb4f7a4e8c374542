"""The Serve config is one that Ray takes, and names what is there."""

import importlib
from pathlib import Path

import yaml
from ray.serve import Application
from ray.serve.schema import ServeDeploySchema

from decoder_service.app import SERVICER_FUNCTIONS
from decoder_service.config import DecoderConfig

CONFIG = Path(__file__).parents[1] / "deploy" / "serve.yaml"


def test_the_serve_config_builds_the_application() -> None:
    schema = ServeDeploySchema.model_validate(yaml.safe_load(CONFIG.read_text()))
    (application,) = schema.applications
    module, function = application.import_path.split(":")
    build = getattr(importlib.import_module(module), function)
    assert isinstance(build(application.args), Application)
    assert DecoderConfig(**application.args).most_replicas > 1
    assert schema.grpc_options.grpc_servicer_functions == SERVICER_FUNCTIONS
    # Ray ends a stream; the replica's own deadline, with its typed error, must come first.
    assert schema.grpc_options.request_timeout_s > application.args["timeout"]
