"""`make stack`: the commands of the compose file on this machine, and dashboards with data."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from decoder_service.app import SERVICER_FUNCTIONS
from deploy.check import serve_config
from deploy.check.files import DEPLOY, documents
from deploy.check.together import encoder_settings
from deploy.stack.answers import questions
from deploy.stack.plan import CannotStart, Plan
from deploy.stack.processes import Processes


def flags(command: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in command if word.startswith("--") and "=" in word)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    return Plan(tmp_path)


def test_commands_are_those_of_the_compose_file(plan: Plan) -> None:
    (stack,) = documents(DEPLOY / "compose.yaml")
    for name, command in {
        "encoder": plan.encoder,
        "ray-head": plan.head,
        "ray-worker": plan.worker,
        "prometheus": plan.prometheus,
    }.items():
        theirs = flags(stack["services"][name]["command"])
        assert theirs.keys() <= flags(command).keys(), name
    settings = encoder_settings(plan.encoder[3:], {})
    assert settings.decoder == plan.at("ray-head", 50052)
    assert settings.store == f"redis://{plan.at('cache', 6379)}"
    assert settings.advertise == plan.at("encoder", 50051) == f"127.0.0.1:{settings.port}"
    assert flags(plan.worker)["--address"] == plan.at("ray-head", 6379)
    assert "--head" in plan.head
    assert dict(zip(plan.cache[1::2], plan.cache[2::2], strict=True))["--save"] == ""


def test_files_name_the_ports_of_this_machine(plan: Plan) -> None:
    (config,) = yaml.safe_load_all(Path(plan.deploy[-1]).read_text())
    assert not list(serve_config.problems(config, "serve.yaml"))
    assert f"127.0.0.1:{config['grpc_options']['port']}" == plan.at("ray-head", 50052)
    assert config["grpc_options"]["grpc_servicer_functions"] == SERVICER_FUNCTIONS
    written = yaml.safe_load(Path(flags(plan.prometheus)["--config.file"]).read_text())
    scraped = [t for job in written["scrape_configs"] for t in job["static_configs"][0]["targets"]]
    exported = [flags(plan.encoder)["--metrics-port"]]
    exported += [flags(command)["--metrics-export-port"] for command in (plan.head, plan.worker)]
    assert scraped == [f"127.0.0.1:{port}" for port in exported]


def test_all_panels_and_alerts_are_asked_about() -> None:
    asked = list(questions())
    assert all("$" not in query for _, query in asked)
    (alerts,) = documents(DEPLOY / "prometheus" / "alerts.yml")
    for rule in alerts["groups"][0]["rules"]:
        assert any(where == f"alert {rule['alert']}" for where, _ in asked)


def test_a_process_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    with Processes(tmp_path).all_ended() as processes:
        processes.start("talker", [sys.executable, "-c", "print('no such port'); exit(3)"])
        with pytest.raises(CannotStart, match=r"(?s)talker ended with 3.*no such port"):
            processes.wait_for("the talker", lambda: False, 60)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_query_is_answered_by_running_services(tmp_path: Path) -> None:
    try:
        assert Plan(tmp_path).prometheus
    except CannotStart as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "deploy.stack", "--check"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=850)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "FAIL" not in run.stdout
