"""Deadlines, slots and flags: what bounds a request and configures a service."""

import asyncio
import dataclasses
import time

import pytest

from decoder_service.config import DecoderConfig
from encoder_service.config import EncoderConfig
from luvc_core.errors import DeadlineExceeded, Overloaded
from luvc_core.runtime.admission import AdmissionLimiter
from luvc_core.runtime.cli_config import config_from, from_mapping
from luvc_core.runtime.deadline import Deadline


async def test_work_in_vain_always_ends_with_the_typed_error() -> None:
    # The loop's timers may fire a little early, so once is not enough.
    for i in range(60):
        with pytest.raises(DeadlineExceeded, match="s allowed"):
            await Deadline.after(i / 10_000).wait_for(asyncio.sleep(5))


async def test_a_timeout_of_the_work_itself_is_not_the_deadline() -> None:
    async def work() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await Deadline.after(5).wait_for(work())


async def test_the_earliest_limit_wins_and_none_is_no_limit() -> None:
    assert Deadline.after(5, None, 2).allowed == 2
    assert await Deadline.after(None).wait_for(asyncio.sleep(0, "done")) == "done"
    late = Deadline.after(0)
    assert late.seconds_left == 0
    with pytest.raises(DeadlineExceeded):
        late.check()


async def test_slots_serve_in_order_and_refuse_beyond_their_bound() -> None:
    limiter, order = AdmissionLimiter(active=1, waiting=2), []

    async def request(name: int) -> None:
        async with limiter.slot(Deadline.after(5)):
            order.append(name)
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(request(i)) for i in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="2 wait"):
        await request(9)
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2]
    await request(4)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_who_leaves_the_queue_leaves_no_trace(how: str) -> None:
    limiter = AdmissionLimiter(active=1, waiting=1)
    async with limiter.slot(Deadline.after(5)):

        async def wait() -> None:
            async with limiter.slot(Deadline.after(0.02 if how == "deadline" else 5)):
                pass

        task = asyncio.create_task(wait())
        await asyncio.sleep(0.005)
        if how == "cancel":
            task.cancel()
        with pytest.raises((asyncio.CancelledError, DeadlineExceeded)):
            await task
        assert limiter.waiting == 0
    start = time.monotonic()
    async with limiter.slot(Deadline.after(5)):
        assert time.monotonic() - start < 1


def encoder(argv: list[str], environ: dict[str, str]) -> EncoderConfig:
    return config_from(EncoderConfig, "encoder_service", "LUVC_ENCODER_", argv, environ)


def test_flags_win_over_the_environment_and_that_over_defaults() -> None:
    environ = {"LUVC_ENCODER_PORT": "7", "LUVC_ENCODER_TIMEOUT": "9.5", "LUVC_DECODER_PORT": "x"}
    config = encoder(["--port", "8"], environ)
    assert (config.port, config.timeout, config.host) == (8, 9.5, "127.0.0.1")


def test_former_spellings_are_accepted_wherever_the_present_ones_are() -> None:
    formers = {
        f.metadata["former"]: f.name
        for f in dataclasses.fields(EncoderConfig)
        if f.metadata["former"]
    }
    assert formers["max_clips"] == "max_videos"
    for former, name in formers.items():
        flag = f"--{former.replace('_', '-')}"
        for config in (
            encoder([flag, "3"], {}),
            encoder([], {f"LUVC_ENCODER_{former.upper()}": "3"}),
            from_mapping(EncoderConfig, {former: 3}),
        ):
            assert getattr(config, name) == 3


def test_former_values_are_accepted_wherever_the_present_ones_are() -> None:
    for config in (
        config_from(DecoderConfig, "x", "LUVC_DECODER_", ["--pruning", "thrifty"], {}),
        config_from(DecoderConfig, "x", "LUVC_DECODER_", [], {"LUVC_DECODER_PRUNING": "thrifty"}),
        from_mapping(DecoderConfig, {"pruning": "thrifty"}),
    ):
        assert config == DecoderConfig(pruning="auto")


@pytest.mark.parametrize(
    ("argv", "environ", "names"),
    [
        (["--prot", "1"], {}, "--prot"),
        (["--por", "1"], {}, "--por"),
        (["--port", "x"], {}, "--port"),
        (["--port", "70000"], {}, "--port"),
        (["--timeout", "nan"], {}, "--timeout"),
        (["--max-active", "0"], {}, "--max-active"),
        (["--decoder", "nowhere"], {}, "--decoder"),
        (["--profile", "best"], {}, "--profile"),
        ([], {"LUVC_ENCODER_PROT": "1"}, "LUVC_ENCODER_PROT"),
        ([], {"LUVC_ENCODER_PORT": ""}, "--port"),
    ],
)
def test_junk_ends_the_program(
    argv: list[str], environ: dict[str, str], names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        encoder(argv, environ)
    assert ended.value.code == 2
    assert names in capsys.readouterr().err


@pytest.mark.parametrize("value", ["many", None, [], float("inf")])
def test_a_setting_of_another_type_is_named(value: object) -> None:
    with pytest.raises(ValueError, match=r"--max-active: got .*; allowed: a value of type int"):
        from_mapping(DecoderConfig, {"max_active": value})


@pytest.mark.parametrize(
    "settings",
    [{"replica": 2}, {"min_replicas": 3, "max_replicas": 2}, {"min_replicas": 1}, {"port": 0}],
)
def test_an_application_refuses_settings_that_serve_would_ignore(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"replica|port"):
        from_mapping(DecoderConfig, settings)
    assert from_mapping(DecoderConfig, {"max_replicas": "4", "min_replicas": 1}).replica_limit == 4
