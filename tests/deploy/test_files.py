"""The files of deploy/ agree with their schemas, with each other, and with what is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import kubernetes_validate
import pytest
import yaml

from tests.deploy.servers import DEPLOY
from tests.e2e.programs import find_program, require

ROOT = DEPLOY.parent
SERVICE = ROOT / "examples" / "service"
KUBERNETES = DEPLOY / "kubernetes"
KUBERNETES_VERSION = "1.30"
COMPOSE = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
OPEN_TO_ALL = {"0.0.0.0", "::", ""}
# Types of the Prometheus operator, which Kubernetes itself knows nothing of.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}


# --- compose ------------------------------------------------------------------------------


def test_compose_agrees_with_its_schema():
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            str(DEPLOY / "docker-compose.yml"),
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_a_service_is_closed_pinned_and_limited(name):
    service = COMPOSE["services"][name]
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), f"{name}: {port} is open to the network"
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    if "build" not in service:
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), f"{name} is not pinned"
    if name == "volumes":
        assert "restart" not in service
        assert service["network_mode"] == "none"
        return
    assert service["restart"] == "unless-stopped"
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    if "build" not in service:  # the example's user is in its Dockerfile
        assert not service["user"].startswith("0:")


def test_every_program_of_compose_is_asked_whether_it_is_well():
    asked = {
        name
        for name, service in COMPOSE["services"].items()
        if service.get("healthcheck", {"disable": True}).get("disable") is not True
    }
    # The collector's image has no shell: the service beside it asks. The example's Dockerfile does.
    # Nobody listens in the load, which ends by itself.
    assert asked == set(COMPOSE["services"]) - {"volumes", "otel-collector", "example", "load"}
    assert "HEALTHCHECK" in (SERVICE / "Dockerfile").read_text()


def test_what_compose_mounts_and_builds_is_there():
    for name, service in COMPOSE["services"].items():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
            else:
                assert source in COMPOSE["volumes"], f"{name}: {source}"
    for name in ("example", "load"):
        build = COMPOSE["services"][name]["build"]
        dockerfile = DEPLOY / build["context"] / build["dockerfile"]
        # What it copies is there, and is not kept from it.
        let_in = dockerfile.with_name("Dockerfile.dockerignore").read_text().splitlines()
        for sources in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile.read_text(), re.MULTILINE):
            for source in sources.split():
                assert list(ROOT.glob(source)), source
                assert f"!{source}" in let_in, source


def test_what_compose_and_kubernetes_say_to_the_example_is_what_it_reads():
    names = {
        field.upper()
        for field in re.findall(
            r"^    (\w+): (?:str|int|float) =", (SERVICE / "settings.py").read_text(), re.MULTILINE
        )
    }
    assert "LINGER_S" in names
    (example,) = (made for name, made in workloads() if name == "example")
    (container,) = example["spec"]["template"]["spec"]["containers"]
    given = {entry["name"]: entry["value"] for entry in container["env"]}
    given |= COMPOSE["services"]["example"]["environment"]
    assert {name for name in given if not name.startswith(("OTEL_", "HUSH_"))} <= names
    # It has time to end: lingering, draining, and then its telemetry.
    default = re.search(r"drain_s: float = (\S+)", (SERVICE / "settings.py").read_text())
    least = float(default[1]) + 5
    grace = example["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= least + float(given["LINGER_S"])
    assert float(COMPOSE["services"]["example"]["stop_grace_period"].rstrip("s")) >= least
    # The load has options that there are.
    done = subprocess.run(
        [sys.executable, str(SERVICE / "load.py"), "--help"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    (cron,) = documents(KUBERNETES / "components" / "load" / "load.yaml")
    (job,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    for option in [*job["args"], *COMPOSE["services"]["load"]["command"][2:]]:
        assert option.partition("=")[0] in done.stdout, option


def test_variables_of_compose_are_explained():
    used = set(re.findall(r"\$\{(\w+)[:}]", (DEPLOY / "docker-compose.yml").read_text()))
    explained = set(re.findall(r"^(\w+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
    assert used == explained
    # Each has the default that the example shows.
    for name, default in re.findall(
        r"\$\{(\w+):-([^}]*)\}", (DEPLOY / "docker-compose.yml").read_text()
    ):
        assert f"\n{name}={default}\n" in (DEPLOY / ".env.example").read_text()


def test_settings_reach_the_configuration_they_are_for():
    for service, file in (("jaeger", "jaeger"), ("otel-collector", "otel-collector")):
        config = (DEPLOY / file / "config.yaml").read_text()
        wanted = set(re.findall(r"\$\{env:(\w+)", config))
        given = set(COMPOSE["services"][service]["environment"]) - {"GOMEMLIMIT"}
        # What is not given has a default in the file.
        assert given <= wanted, f"{service}: nobody reads {given - wanted}"


def test_prometheus_reads_programs_that_are_there():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    hosts = set()
    for job in config["scrape_configs"]:
        for group in job.get("static_configs", ()):
            hosts |= {target.split(":")[0] for target in group["targets"]}
        for group in job.get("dns_sd_configs", ()):
            hosts |= set(group["names"])
    assert hosts - {"127.0.0.1"} <= set(COMPOSE["services"])


def test_without_containers_prometheus_does_the_same():
    # Of the collector's, which is not there, nothing.
    found = {}
    for name in ("prometheus", "loopback"):
        config = yaml.safe_load((DEPLOY / "prometheus" / f"{name}.yml").read_text())
        jobs = {job.pop("job_name"): job for job in config.pop("scrape_configs")}
        found[name] = config, jobs
    assert found["loopback"][0] == found["prometheus"][0]
    with_containers, without = found["prometheus"][1], found["loopback"][1]
    assert set(without) == {
        name for name in with_containers if name not in {"hush-otlp", "otel-collector"}
    }
    for name, job in without.items():
        there = with_containers[name]
        assert job.get("honor_labels") == there.get("honor_labels")
        assert job.get("file_sd_configs") == there.get("file_sd_configs")
        ports = {
            target.split(":")[1] for group in job["static_configs"] for target in group["targets"]
        }
        for group in there.get("static_configs", ()):
            assert ports == {target.split(":")[1] for target in group["targets"]}
        for group in there.get("dns_sd_configs", ()):
            assert ports == {str(group["port"])}


def test_what_waits_in_memory_fits_below_the_limit_of_memory():
    # Measured: 3.5 kB for a span of some 300 bytes, over the 100 MB that the example takes.
    sizes = {
        int(COMPOSE["services"]["example"]["environment"]["OTEL_BSP_MAX_QUEUE_SIZE"]),
        *map(
            int,
            re.findall(
                r"OTEL_BSP_MAX_QUEUE_SIZE\D+(\d+)",
                (KUBERNETES / "base" / "example.yaml").read_text()
                + (DEPLOY / "systemd" / "hush-example.service").read_text(),
            ),
        ),
    }
    (size,) = sizes
    limits = [
        COMPOSE["services"]["example"]["deploy"]["resources"]["limits"]["memory"],
        re.search(r"limits:.*memory: (\w+)", (KUBERNETES / "base" / "example.yaml").read_text())[1],
        re.search(r"MemoryMax=(\w+)", (DEPLOY / "systemd" / "hush-example.service").read_text())[1],
    ]
    for limit in limits:
        assert 100 + size * 3_500 / 1e6 < int(re.match(r"\d+", limit)[0]), limit


# --- Kubernetes ------------------------------------------------------------------------------


def documents(path):
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def validate(document):
    if document["kind"] in FOREIGN or "kustomize" in document["apiVersion"]:
        return
    kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)


MANIFESTS = sorted(path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_agrees_with_the_schemas_of_kubernetes(path):
    for document in documents(path):
        validate(document)


def test_the_schemas_find_what_is_wrong():
    document = documents(KUBERNETES / "base" / "jaeger.yaml")[0]
    document["spec"]["replicsa"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(document)


def workloads():
    for path in MANIFESTS:
        for document in documents(path):
            if document["kind"] in {"Deployment", "StatefulSet"}:
                yield document["metadata"]["name"], document


def check_closed(pod):
    """See that a pod may do nothing but its work, and return its container."""
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"].keys() == {"requests", "limits"}
    return container


def test_the_load_is_closed_and_ends_by_itself():
    (cron,) = documents(KUBERNETES / "components" / "load" / "load.yaml")
    job = cron["spec"]["jobTemplate"]["spec"]
    container = check_closed(job["template"]["spec"])
    (duration,) = (arg for arg in container["args"] if arg.startswith("--duration="))
    assert float(duration.partition("=")[2]) < job["activeDeadlineSeconds"] <= 3600
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"


@pytest.mark.parametrize(("name", "workload"), list(workloads()))
def test_a_pod_is_closed_limited_and_probed(name, workload):
    pod = workload["spec"]["template"]["spec"]
    container = check_closed(pod)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] in {port["name"] for port in container["ports"]}
    claims = {"jaeger", "grafana"} if workload["kind"] == "Deployment" else set()
    if workload["kind"] == "StatefulSet":
        assert workload["spec"]["volumeClaimTemplates"], f"{name} keeps nothing"
    else:
        assert any(
            volume.get("persistentVolumeClaim", {}).get("claimName") in claims
            for volume in pod["volumes"]
        )


def test_compose_and_kubernetes_run_the_same_versions_with_the_same_settings():
    for name, workload in workloads():
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        service = COMPOSE["services"][name]
        assert container["image"].removesuffix(":latest") == service["image"]
        variables = {entry["name"]: entry.get("value") for entry in container.get("env", ())}
        for key, value in service.get("environment", {}).items():
            default = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))
            if "${" not in default and default:
                # Kubernetes gives each claim a folder that is not empty: one below it is used.
                assert variables.get(key, "").removesuffix("/queue") == default, f"{name}: {key}"


def test_configuration_is_not_copied():
    # kubernetes/ holds no configuration of the programs; each folder beside it makes ConfigMaps.
    base = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())
    for name in ("jaeger", "otel-collector", "prometheus", "grafana"):
        assert f"../../{name}" in base["resources"]
        made = yaml.safe_load((DEPLOY / name / "kustomization.yaml").read_text())
        for generated in made["configMapGenerator"]:
            for file in generated["files"]:
                assert (DEPLOY / name / file.split("=")[-1]).is_file()
    dashboards = {path.name for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")}
    text = (DEPLOY / "grafana" / "kustomization.yaml").read_text()
    assert all(name in text for name in dashboards)


@pytest.mark.parametrize("overlay", ["local", "production"])
def test_an_overlay_can_be_built(overlay):
    found = find_program(
        "HUSH_KUSTOMIZE", command="kustomize", compiled="kustomize-v5.7.1/kustomize"
    )
    program = require(found, "no kustomize: deploy/install-kustomize.sh compiles one")
    done = subprocess.run(
        [str(program), "build", str(KUBERNETES / "overlays" / overlay)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    built = [found for found in yaml.safe_load_all(done.stdout) if found]
    for document in built:
        validate(document)
        if document["kind"] != "Namespace":
            assert document["metadata"]["namespace"] == "hush"
    maps = {found["metadata"]["name"]: found for found in built if found["kind"] == "ConfigMap"}
    text = done.stdout
    for name, found in maps.items():
        # The name changes with the content, and whoever reads it knows it by that name.
        assert re.search(r"-[a-z0-9]{10}$", name)
        assert text.count(name) >= 2, f"nobody reads {name}"
        # kubectl notes down what it applied, and refuses beyond 256 KiB.
        assert len(json.dumps(found)) < 200_000
    (jaeger,) = (found for name, found in maps.items() if re.fullmatch(r"jaeger-\w+", name))
    assert jaeger["data"]["config.yaml"] == (DEPLOY / "jaeger" / "config.yaml").read_text()


OPERATOR = KUBERNETES / "components" / "service-monitor"


def test_the_operator_gets_the_rules_that_prometheus_has(tmp_path):
    made = tmp_path / "rules.yaml"
    subprocess.run([sys.executable, str(OPERATOR / "generate.py"), str(made)], check=True)
    committed = (OPERATOR / "rules.yaml").read_text()
    assert made.read_text() == committed, "run generate.py in components/service-monitor"
    for found, name in zip(yaml.safe_load_all(committed), ("recording", "alerts"), strict=True):
        rules = yaml.safe_load((DEPLOY / "prometheus" / "rules" / f"{name}.yml").read_text())
        assert found["spec"] == rules


def test_the_operator_names_jobs_as_prometheus_does():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    honours = {
        job["job_name"]: job.get("honor_labels", False)
        for job in config["scrape_configs"]
        if job["job_name"] != "prometheus"
    }
    named = {}
    for monitor in documents(OPERATOR / "monitors.yaml"):
        for endpoint in monitor["spec"]["endpoints"]:
            (rule,) = endpoint["relabelings"]
            assert rule["targetLabel"] == "job"
            named[rule["replacement"]] = endpoint.get("honorLabels", False)
    assert named == honours


def test_the_operator_reaches_what_it_is_to_read():
    wanted = {
        endpoint["port"]
        for monitor in documents(OPERATOR / "monitors.yaml")
        for endpoint in monitor["spec"]["endpoints"]
    }
    (policy,) = documents(OPERATOR / "network.yaml")
    (rule,) = policy["spec"]["ingress"]
    assert {entry["port"] for entry in rule["ports"]} == wanted
    # A policy goes by the names of the container's ports, a monitor by those of the service.
    containers = {
        port["name"]
        for _, workload in workloads()
        for port in workload["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    assert wanted <= containers


# --- Grafana's provisioning, systemd -------------------------------------------------------------


def test_data_sources_lead_to_each_other():
    text = (DEPLOY / "grafana" / "provisioning" / "datasources" / "hush.yaml").read_text()
    sources = {found["uid"]: found for found in yaml.safe_load(text)["datasources"]}
    to_traces = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert [entry["datasourceUid"] for entry in to_traces] == ["jaeger"]
    assert sources["jaeger"]["jsonData"]["tracesToMetrics"]["datasourceUid"] == "prometheus"
    # Grafana puts a variable of its environment where a single dollar stands.
    grafana = COMPOSE["services"]["grafana"]["environment"]
    for name in re.findall(r"(?<!\$)\$\{?(\w+)", re.sub(r"#.*", "", text)):
        assert name in grafana, f"{name} is not in Grafana's environment"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=str)
def test_systemd_takes_the_unit(unit, tmp_path):
    text = unit.read_text()
    # It asks whether the program exists, which it does not on the machine of the tests.
    text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE)
    copy = tmp_path / unit.name
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert not complaints, done.stderr


# --- what people are told to type --------------------------------------------------------------


def texts():
    yield from (ROOT / "docs" / "runbooks").glob("*.md")
    yield from (
        ROOT / "docs" / "operate.md",
        DEPLOY / "README.md",
        DEPLOY / "prometheus" / "rules" / "alerts.yml",
        *(DEPLOY / "dashboards").glob("*.py"),
    )


def test_commands_of_hush_that_people_are_told_to_type_exist():
    help_of = {}
    typed = set()
    for path in texts():
        text = path.read_text(encoding="utf-8")
        for line in re.findall(r"^\$ hush (.+?)(?: +#.*)?$", text, re.MULTILINE):
            typed.add(line)
        for line in re.findall(r"`hush ([^`]+)`", text):
            typed.add(line)
        for line in re.findall(r"\bhush (doctor|why|show|traces|whatif|diff|spool)\b", text):
            typed.add(line)
    assert len(typed) > 10
    for line in sorted(typed):
        words = line.split()
        # A group of commands has one more word.
        command = " ".join(
            words[:2] if words[0] == "spool" and words[1:2] == ["send"] else words[:1]
        )
        arguments = words[len(command.split()) :]
        if command not in help_of:
            done = subprocess.run(
                [sys.executable, "-m", "hush.cli", *command.split(), "--help"],
                capture_output=True,
                encoding="utf-8",
                check=False,
                env={**os.environ, "COLUMNS": "200"},
            )
            assert done.returncode == 0, f"hush {line}: {done.stderr}"
            help_of[command] = done.stdout
        for option in arguments:
            if option.startswith("--"):
                assert option in help_of[command], f"hush {line}: there is no {option}"
