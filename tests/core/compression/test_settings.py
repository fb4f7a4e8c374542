"""Settings: what is rejected and how, the profiles, and reading what the wire carries."""

import dataclasses
import math
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from luvc.v1 import compression_pb2

from luvc_core.compression.algorithms.schedules import layer_average
from luvc_core.compression.profiles import DEFAULT_PROFILE, PROFILES, profile
from luvc_core.compression.settings import Compression, Keep, OimSettings, Ramp, SpuSettings
from luvc_core.compression.settings_from_dict import compression_from_dict, spu_from_dict
from luvc_core.errors import InvalidSettings

NAN, INF = math.nan, math.inf
RAMP = Ramp()

INVALID: list[tuple[type, str, list[Any], str]] = [
    (OimSettings, "oim.keep_rows", [0, -1, 0.2, 1.1, NAN, INF, True, "NaN", None], "[0.25, 1]"),
    (OimSettings, "oim.keep_columns", [0, 2.0, NAN, False, "1"], "[0.25, 1]"),
    (
        OimSettings,
        "oim.blocks",
        [(), (0.5, 0.5), (0.5, 0.2), (-0.1,), (1.0,), (NAN,), (True,), ("Infinity",), [0.5], 0.5],
        "[0, 1), strictly increasing",
    ),
    (OimSettings, "oim.window", [-1, 1.5, True, "1", None], ">= 0"),
    (OimSettings, "oim.metric", ["values", 1, None], "keys, hidden"),
    (OimSettings, "oim.alignment", ["line"], "per_line, shared"),
    (OimSettings, "oim.position", ["median"], "mean, kept"),
    (OimSettings, "oim.llm_position", ["mean"], "grid, source"),
    (OimSettings, "oim.proportional_attention", [1, "true", None], "true, false"),
    (Ramp, "spu.ramp.start", [-0.1, 1.0, NAN, INF, False, "0"], "[0, 1)"),
    (Ramp, "spu.ramp.end", [0, 0.0, 1.1, NAN, INF, True, "1"], "(0, 1]"),
    (Ramp, "spu.ramp.shape", ["sine", 7], "linear, cosine, step"),
    (Ramp, "spu.ramp.every", [0, -1, 1.0, True, "2"], ">= 1"),
    (Ramp, "spu.ramp.steps", [0, -1, 1.0, True, "2"], ">= 1"),
    (Ramp, "spu.ramp.first_keep", [0, 1.1, NAN, True, "1"], "(0, 1]"),
    (
        Keep,
        "spu.keep.shares",
        [(), (1.0, 0.5), (0.5, 1.0, 0.0), (1.1, 0.0), (-0.1, 0.0), (NAN, 0.0), (True, 0.0), [0.0]],
        "the last one 0",
    ),
    (SpuSettings, "spu.cutoff", [0, 1.1, -0.5, NAN, INF, True, "NaN"], "(0, 1]"),
    (SpuSettings, "spu.score", ["bandpass", 9], "low_pass, high_pass, norm, random"),
    (SpuSettings, "spu.axis", ["time"], "raster, grid, channels"),
    (SpuSettings, "spu.sampling", ["nearest"], "filled, index"),
    (SpuSettings, "spu.normalize", [0, "yes"], "true, false"),
    (SpuSettings, "spu.proportional_attention", [1, "no"], "true, false"),
    (SpuSettings, "spu.schedule", [None, {}], "ramp or keep"),
]


@pytest.mark.parametrize(
    ("cls", "field", "value", "allowed"),
    [(cls, field, value, allowed) for cls, field, values, allowed in INVALID for value in values],
)
def test_every_invalid_value_is_named_with_its_range(cls, field, value, allowed):
    values = {"schedule": RAMP} if cls is SpuSettings else {}
    values[field.rpartition(".")[2]] = value
    with pytest.raises(InvalidSettings) as caught:
        cls(**values)
    assert caught.value.field == field
    assert allowed in caught.value.allowed
    assert str(value) in caught.value.problem


def test_every_field_has_an_invalid_value_above():
    named = {field for _, field, _, _ in INVALID}
    classes = (OimSettings, "oim"), (Ramp, "spu.ramp"), (Keep, "spu.keep"), (SpuSettings, "spu")
    assert named == {f"{where}.{f.name}" for cls, where in classes for f in dataclasses.fields(cls)}


def test_end_must_follow_start():
    with pytest.raises(InvalidSettings, match=r"spu.ramp.end: got 0.3; allowed: \(0.4, 1\]"):
        Ramp(start=0.4, end=0.3)


def test_step_takes_no_first_keep():
    with pytest.raises(InvalidSettings, match=r"first_keep: got 0.5; allowed: 1 with the shape"):
        Ramp(shape="step", first_keep=0.5)


def test_blocks_bound_what_can_be_kept():
    assert OimSettings(keep_rows=0.125, blocks=(0.1, 0.2, 0.3)).keep_rows == 0.125
    with pytest.raises(InvalidSettings, match=r"each of the 1 oim.blocks at most halves"):
        OimSettings(keep_rows=0.4, blocks=(0.5,))


def test_layer_counts():
    assert SpuSettings(Ramp(start=0.5)).layer_counts(5, 100) == (100, 100, 100, 50, 0)
    assert SpuSettings(Keep((1.0, 0.25, 0.0))).layer_counts(3, 10) == (10, 3, 0)
    assert SpuSettings(Ramp()).layer_counts(1, 10) == (0,)


def test_a_schedule_for_another_depth_names_both():
    with pytest.raises(InvalidSettings, match="got 3 shares, but the model has 12 layers") as error:
        SpuSettings(Keep((1.0, 0.5, 0.0))).layer_counts(12, 64)
    assert error.value.field == "spu.keep.shares"


def test_profiles():
    assert list(PROFILES) == ["off", "lossless", "balanced", "max", "spu-paper", "luvc-paper"]
    assert all(profile(name).name == name for name in PROFILES)
    assert PROFILES["off"].oim.is_off
    assert PROFILES["off"].spu is None
    assert DEFAULT_PROFILE in PROFILES
    with pytest.raises(InvalidSettings, match=r"compression.profile: got 'tiny'; allowed: off, "):
        profile("tiny")


def test_profiles_compress_more_and_more():
    def cost(compression: Compression) -> float:
        tokens = int(10000 * compression.oim.keep_rows * compression.oim.keep_columns)
        spu = compression.spu
        return layer_average(spu.layer_counts(12, tokens)) if spu else tokens

    costs = [cost(PROFILES[name]) for name in ("off", "lossless", "balanced", "max")]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == len(costs)


def test_digest_tells_merging_settings_apart():
    assert OimSettings().sha256 == OimSettings(metric="hidden", blocks=(0.3,)).sha256
    merging = OimSettings(keep_rows=0.5)
    assert merging.sha256 == OimSettings(keep_rows=0.5).sha256
    others = (OimSettings(), OimSettings(keep_columns=0.5), OimSettings(keep_rows=0.5, window=1))
    assert merging.sha256 not in {other.sha256 for other in others}


def read(**message: Any) -> Compression:
    """As the services do: a protobuf message, as a dictionary, as settings."""
    parsed = ParseDict(message, compression_pb2.Compression())
    return compression_from_dict(MessageToDict(parsed, preserving_proto_field_name=True))


def test_what_is_not_set_is_default():
    assert read() == PROFILES[DEFAULT_PROFILE]
    assert read(profile="max") is PROFILES["max"]
    assert read(settings={}) == Compression("custom", OimSettings(), None)
    assert read(settings={"spu": {"ramp": {}}}) == Compression("custom", spu=SpuSettings(Ramp()))
    blank = {"metric": "MERGE_METRIC_UNSPECIFIED", "blocks": []}
    assert read(settings={"oim": blank}).oim == OimSettings()


def test_every_field_is_read():
    oim = OimSettings(0.75, 0.7, (0.1, 0.3), "hidden", 3, "shared", "kept", "source", True)
    spu = SpuSettings(
        Ramp(0.1, 0.9, "cosine", 2, 0.6), "low_pass", 0.3, "channels", "index", False, False
    )
    read_back = read(
        settings={
            "oim": {
                "keep_rows": 0.75,
                "keep_columns": 0.7,
                "blocks": [0.1, 0.3],
                "metric": "MERGE_METRIC_HIDDEN",
                "window": 3,
                "alignment": "MERGE_ALIGNMENT_SHARED",
                "position": "MERGED_POSITION_KEPT",
                "llm_position": "LLM_POSITION_SOURCE",
                "proportional_attention": True,
            },
            "spu": {
                "ramp": {
                    "start": 0.1,
                    "end": 0.9,
                    "shape": "SCHEDULE_SHAPE_COSINE",
                    "every": 2,
                    "first_keep": 0.6,
                },
                "score": "PRUNING_SCORE_LOW_PASS",
                "cutoff": 0.3,
                "axis": "SPECTRUM_AXIS_CHANNELS",
                "sampling": "SPECTRUM_SAMPLING_INDEX",
                "normalize": False,
                "proportional_attention": False,
            },
        }
    )
    assert read_back == Compression("custom", oim, spu)


def test_every_choice_of_the_wire_is_known():
    for field, settings, base in (
        *((f, "oim", {}) for f in ("metric", "alignment", "position", "llm_position")),
        *((f, "spu", {"ramp": {}}) for f in ("score", "axis", "sampling")),
    ):
        message = compression_pb2.DESCRIPTOR.message_types_by_name[f"{settings.title()}Settings"]
        for choice in message.fields_by_name[field].enum_type.values_by_name:
            assert read(settings={settings: {**base, field: choice}})
    for shape in compression_pb2.ScheduleShape.DESCRIPTOR.values_by_name:
        assert read(settings={"spu": {"ramp": {"shape": shape}}})


def test_shares_are_read_and_an_empty_list_is_named():
    assert read(settings={"spu": {"keep": {"shares": [1, 0.1, 0]}}}).spu == SpuSettings(
        Keep((1.0, 0.1, 0.0))
    )
    with pytest.raises(InvalidSettings, match=r"spu.keep.shares: got \(\)"):
        read(settings={"spu": {"keep": {}}})


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"oim": {"keep_rows": 0}}, "oim.keep_rows"),
        ({"oim": {"keep_rows": "NaN"}}, "oim.keep_rows"),
        ({"oim": {"blocks": ["Infinity"]}}, "oim.blocks"),
        ({"oim": {"metric": 77}}, "oim.metric"),
        ({"spu": {"ramp": {"every": 0}}}, "spu.ramp.every"),
        ({"spu": {"ramp": {}, "cutoff": "-Infinity"}}, "spu.cutoff"),
        ({"spu": {"ramp": {}, "axis": 77}}, "spu.axis"),
        ({"spu": {}}, "spu.schedule"),
    ],
)
def test_invalid_messages_are_named(settings, field):
    with pytest.raises(InvalidSettings) as caught:
        read(settings=settings)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"oom": {}}, "compression.settings.oom"),
        ({"oim": {"keep": 1}}, "oim.keep"),
        ({"spu": {"ramp": {}, "keep": {"shares": [0]}}}, "spu.ramp"),
        ({"spu": {"ramp": {"begin": 0}}}, "spu.ramp.begin"),
    ],
)
def test_unknown_fields_are_named(settings, field):
    with pytest.raises(InvalidSettings) as caught:
        compression_from_dict({"settings": settings})
    assert caught.value.field == field


def test_spu_alone_is_read():
    assert spu_from_dict({"ramp": {"start": 0.25}}) == SpuSettings(Ramp(start=0.25))
