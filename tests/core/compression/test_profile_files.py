"""Profile files: what is written is read again, and what is wrong is named with file and field."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from luvc.local_stack.launcher import Stack

from decoder_service.app import application
from decoder_service.config import DecoderConfig
from encoder_service.config import EncoderConfig
from encoder_service.server import profiles_from
from luvc_core.compression.profile_files import read_profiles, to_toml
from luvc_core.compression.profiles import BUILT_IN, PROFILES
from luvc_core.compression.settings import Compression, Keep, OimSettings, Ramp, SpuSettings
from luvc_core.errors import InvalidProfiles, InvalidSettings
from luvc_core.models.registry import read_layer_count
from luvc_core.runtime.cli_config import config_from
from tests.conftest import Checkpoints

EXAMPLE = """
# No table for a stage: it is off.
[plain]

[receipts.oim]
keep_rows = 0.75
blocks = [0.5, 0.8]

[receipts.spu]
score = "low_pass"

[receipts.spu.ramp]
start = 0
end = 0.6
"""
FIVE_LAYERS = "[five.spu.keep]\nshares = [1, 0.5, 0.2, 0.1, 0]\n"


def write(folder: Path, text: str) -> str:
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_adds_to_the_built_in_profiles(tmp_path: Path) -> None:
    profiles = read_profiles(write(tmp_path, EXAMPLE))
    assert profiles.names == (*PROFILES, "plain", "receipts")
    assert profiles.get("plain") == Compression("plain")
    assert profiles.get("max") is PROFILES["max"]
    assert profiles.get("receipts") == Compression(
        "receipts",
        OimSettings(keep_rows=0.75, blocks=(0.5, 0.8)),
        SpuSettings(Ramp(0, 0.6), "low_pass"),
    )
    assert "receipts" not in BUILT_IN.names
    with pytest.raises(InvalidSettings, match=r"compression.profile: got 'no'.*luvc-paper, plain"):
        profiles.get("no")


def test_without_a_file_there_are_the_built_in_ones() -> None:
    assert read_profiles("") is BUILT_IN


shares = st.floats(0, 1)
ramps = st.tuples(st.floats(0, 0.99), st.floats(1e-6, 1)).flatmap(
    lambda ends: st.builds(
        Ramp,
        start=st.just(ends[0]),
        end=st.just(ends[0] + (1 - ends[0]) * ends[1]),
        shape=st.sampled_from(["linear", "cosine"]),
        every=st.integers(1, 9),
        steps=st.integers(1, 99),
        first_keep=st.floats(0, 1, exclude_min=True),
    )
)
keeps = st.lists(shares, max_size=40).map(lambda s: Keep((*sorted(s, reverse=True), 0.0)))
spus = st.builds(
    SpuSettings,
    ramps | keeps | st.just(Ramp(0.5, shape="step")),
    score=st.sampled_from(["low_pass", "high_pass", "norm", "random"]),
    cutoff=st.floats(0, 1, exclude_min=True),
    axis=st.sampled_from(["raster", "grid", "channels"]),
    sampling=st.sampled_from(["filled", "index"]),
    normalize=st.booleans(),
)
oims = st.builds(
    OimSettings,
    keep_rows=st.floats(0.5, 1),
    keep_columns=st.floats(0.5, 1),
    blocks=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, unique=True).map(
        lambda b: tuple(sorted(b))
    ),
    metric=st.sampled_from(["keys", "hidden"]),
    window=st.integers(0, 100),
    alignment=st.sampled_from(["per_line", "shared"]),
    position=st.sampled_from(["mean", "kept"]),
    llm_position=st.sampled_from(["grid", "source"]),
    proportional_attention=st.booleans(),
)
names = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True).filter(lambda n: n not in PROFILES)
compressions = st.builds(Compression, names, oims, st.none() | spus)


@settings(deadline=None)
@given(st.lists(compressions, min_size=1, max_size=4, unique_by=lambda c: c.name), st.text())
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, own: list[Compression], said: str
) -> None:
    comment = "".join(c for c in said if c.isprintable() or c == "\n")
    path = write(tmp_path_factory.mktemp("profiles"), to_toml(own, comment))
    assert read_profiles(path).added == tuple(own)


@pytest.mark.parametrize(
    ("text", "field", "allowed"),
    [
        ("", "the file", "[NAME.spu.ramp]"),
        ("[a", "the file", "TOML"),
        ("[max.spu.ramp]", "max", "names other than off, lossless"),
        ('["a b".spu.ramp]', "a b", "names other than"),
        ("a = 1", "a", "[a.spu]"),
        ("[a]\nspu = 1", "a.spu", "ramp, keep, score"),
        ("[a]\noim = []", "a.oim", "keep_rows"),
        ("[a.oom]", "a.oom", "oim, spu"),
        ("[a.oim]\nkeep = 1", "a.oim.keep", "keep_rows, keep_columns"),
        ("[a.oim]\nkeep_rows = 2.0", "a.oim.keep_rows", "[0.25, 1]"),
        ("[a.oim]\nkeep_rows = nan", "a.oim.keep_rows", "[0.25, 1]"),
        ("[a.oim]\nblocks = 0.5", "a.oim.blocks", "strictly increasing"),
        ("[a.spu]", "a.spu.schedule", "ramp or keep"),
        ("[a.spu]\nramp = true", "a.spu.ramp", "start, end"),
        ("[a.spu]\nkeep = [0]", "a.spu.keep", "shares"),
        ("[a.spu.ramp]\nstart = 1979-05-27", "a.spu.ramp.start", "[0, 1)"),
        ('[a.spu]\nscore = "best"\n[a.spu.ramp]', "a.spu.score", "high_pass"),
        ("[a.spu.ramp]\n[a.spu.keep]\nshares = [0]", "a.spu.ramp", "score"),
        ("[a.spu.keep]\nshares = [[1], 0]", "a.spu.keep.shares", "the last one 0"),
        (FIVE_LAYERS, "five.spu.keep.shares", "4 shares"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, field: str, allowed: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InvalidProfiles) as caught:
        read_profiles(path, layer_count=4)
    assert caught.value.field == f"{path}: {field}"
    assert allowed in caught.value.allowed
    assert str(caught.value).startswith(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidProfiles, match=r"gone\.toml: the file: No such file"):
        read_profiles(str(tmp_path / "gone.toml"))
    with pytest.raises(InvalidProfiles, match=r"the file: Is a directory"):
        read_profiles(str(tmp_path))
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(InvalidProfiles, match=r"the file: .*allowed: TOML in UTF-8"):
        read_profiles(str(tmp_path / "latin.toml"))


def test_the_encoder_starts_with_a_profile_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, EXAMPLE)
    own = profiles_from(EncoderConfig(profiles=path, profile="receipts"))
    assert own.get("receipts").oim.keep_rows == 0.75
    with pytest.raises(InvalidSettings, match=r"--profile: got 'tickets'; allowed: .*receipts"):
        profiles_from(EncoderConfig(profiles=path, profile="tickets"))
    with pytest.raises(ValueError, match=r"--profile: got 'receipts'; allowed: off.*--profiles"):
        EncoderConfig(profile="receipts")


def test_the_decoder_refuses_schedules_for_another_depth(
    tmp_path: Path, checkpoints: Checkpoints
) -> None:
    model = str(checkpoints("qwen2_vl"))
    assert read_layer_count(model) == 5
    application(DecoderConfig(model=model, profiles=write(tmp_path, FIVE_LAYERS)))
    six = write(tmp_path, FIVE_LAYERS.replace("[1,", "[1, 1,"))
    with pytest.raises(InvalidProfiles, match=r"own.toml: five.spu.keep.shares: got 6 shares"):
        application(DecoderConfig(model=model, profiles=six))


def test_serve_hands_the_file_to_both_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, EXAMPLE)
    flags: dict[str, tuple[str, ...]] = {}
    monkeypatch.setattr(Stack, "_spawn", lambda _, module, *own: flags.update({module: own}))
    monkeypatch.setattr(Stack, "_wait_ready", lambda *_: None)
    Stack("any", profiles=path, profile="receipts").start(1.0)
    front = config_from(EncoderConfig, "e", "LUVC_ENCODER_", flags["encoder_service"], {})
    back = config_from(DecoderConfig, "d", "LUVC_DECODER_", flags["decoder_service"], {})
    assert (front.profiles, front.profile, back.profiles) == (path, "receipts", path)
    Stack("any").start(1.0)
    assert not any("profile" in flag for own in flags.values() for flag in own)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl", "llava", "llava_onevision"])
def test_the_depth_of_every_family_is_known_without_its_weights(
    family: str, checkpoints: Checkpoints
) -> None:
    assert read_layer_count(str(checkpoints(family))) == 5
