"""The files of deploy/ are read, not run: what they say must be true of this package, and of good manners."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from agenther_live import cli
from agenther_live.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return found


def kubernetes() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text("utf-8")))


def pods() -> list[dict[str, Any]]:
    return [one["spec"]["template"]["spec"] for one in kubernetes() if one["kind"] in ("Deployment", "StatefulSet")]


def containers() -> list[dict[str, Any]]:
    return [one for pod in pods() for one in (*pod.get("initContainers", []), *pod["containers"])]


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile: (word, rest), continued lines joined."""
    text = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text("utf-8"))
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def environments() -> Iterator[dict[str, Any]]:
    for service in compose()["services"].values():
        yield service.get("environment", {})
    for container in containers():
        yield {one["name"]: one.get("value") for one in container.get("env", [])}


def commands() -> Iterator[list[str]]:
    for service in compose()["services"].values():
        if str(service["image"]).startswith("agenther-live"):
            yield service["command"]
            yield service["healthcheck"]["test"][2:]
    for container in containers():
        if "agenther-live" in container["image"]:
            yield container["args"]
            if "livenessProbe" in container:
                yield container["livenessProbe"]["exec"]["command"][1:]


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_is_one_of_ours(command: list[str]) -> None:
    group: Any = typer.main.get_command(cli.app)
    verb = group.commands[command[0]]
    verb.make_context(command[0], command[1:], resilient_parsing=False)


def test_every_variable_is_a_setting() -> None:
    names = {name for one in environments() for name in one if name.startswith("AGENTHER_")}
    assert "AGENTHER_BUFFER" in names
    assert {name.removeprefix("AGENTHER_").lower() for name in names} <= Settings.model_fields.keys()


def test_nothing_secret_is_written_down() -> None:
    for one in environments():
        for name, value in one.items():
            if re.search("PASSWORD|KEY$|SECRET|TOKEN", name):
                assert value is None or str(value).startswith("${"), name
            assert "://" not in str(value) or re.search(r"//[^:@/]+@", str(value)), name


def test_agents_hold_no_credentials_of_the_database() -> None:
    services = compose()["services"]
    agents = [services[name]["environment"] for name in ("agents-a", "agents-b")]
    agents += [
        {e["name"]: 1 for e in one.get("env", [])} for one in containers() if "agenther-live" not in one["image"]
    ]
    assert len(agents) == 3
    for one in agents:
        assert not {"AGENTHER_BUFFER", "PGPASSWORD"} & one.keys()


def test_the_compose_file_names_only_what_it_has() -> None:
    found = compose()
    used = {volume.split(":")[0] for one in found["services"].values() for volume in one.get("volumes", [])}
    assert used == found["volumes"].keys()
    for name, one in found["services"].items():
        assert one.get("depends_on", {}).keys() <= found["services"].keys(), name
        assert one["restart"] == "unless-stopped", name
    for pod in "ab":  # agents and the worker beside them share a home
        assert found["services"][f"agents-{pod}"]["volumes"] == found["services"][f"ingest-{pod}"]["volumes"]
    shards = [one["volumes"] for name, one in found["services"].items() if name.startswith("central")]
    assert all("shards:/home/agenther/agenther/shards" in volumes for volumes in shards)
    assert len({volumes[0] for volumes in shards}) == len(shards), "a home of its own for each"


def test_every_container_is_bounded_and_unprivileged() -> None:
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        mounts = {volume["name"] for volume in pod["volumes"]} | {"home"}
        assert pod["terminationGracePeriodSeconds"] > Settings.model_fields["drain_seconds"].default + 30
        for one in (*pod.get("initContainers", []), *pod["containers"]):
            assert re.fullmatch(r"\S+:\d[\w.]*", one["image"]), f"{one['image']}: a version, not latest"
            assert {"requests", "limits"} <= one["resources"].keys()
            assert one["securityContext"]["allowPrivilegeEscalation"] is False
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
            assert {mount["name"] for mount in one["volumeMounts"]} <= mounts


def test_the_sidecar_starts_first_and_leaves_last() -> None:
    agents, _ = pods()
    [sidecar] = agents["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["args"][:3] == ["worker", "--only", "ingest"]
    shared = {"name": "agenther", "mountPath": "/agenther"}
    assert shared in sidecar["volumeMounts"]
    assert shared in agents["containers"][0]["volumeMounts"]


def test_selectors_and_claims_meet() -> None:
    claims = {one["metadata"]["name"] for one in kubernetes() if one["kind"] == "PersistentVolumeClaim"}
    for one in kubernetes():
        if "template" in one["spec"]:
            assert one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]
            for volume in one["spec"]["template"]["spec"]["volumes"]:
                assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *claims}


def test_the_dockerfile_keeps_to_the_rules() -> None:
    found = instructions()
    words = [word for word, _ in found]
    assert words[0] == "FROM"
    assert not {"ADD", "MAINTAINER"} & set(words)
    for word, rest in found:
        if word == "FROM":
            assert re.match(r"\S+:[\w.-]+( AS \w+)?$", rest), f"{rest}: a tag"
            assert ":latest" not in rest
        if word in ("ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(rest), list)
        if word == "WORKDIR":
            assert rest.startswith("/")
        if word == "RUN":
            assert "sudo" not in rest
            assert "pip install" not in rest or "--no-cache-dir" in rest
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert dict(found)["USER"] == "10001"
