"""Every alert fires when it should, does not when it should not, ends, and has its page."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from tests.deploy.alert_cases import STORIES
from tests.deploy.servers import DEPLOY

RULES = DEPLOY / "prometheus" / "rules"
RUNBOOKS = DEPLOY.parent / "docs" / "runbooks"
BASE = "http://127.0.0.1:8000/runbooks"


def alerts():
    text = yaml.safe_load((RULES / "alerts.yml").read_text())
    return {rule["alert"]: rule for group in text["groups"] for rule in group["rules"]}


def test_promtool_takes_configuration_and_rules(promtool):
    configs = [DEPLOY / "prometheus" / f"{name}.yml" for name in ("prometheus", "loopback")]
    for arguments in (
        *(["check", "config", str(config)] for config in configs),
        ["check", "rules", *map(str, sorted(RULES.glob("*.yml")))],
    ):
        done = subprocess.run(
            [promtool, *arguments], capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING" not in done.stdout + done.stderr


def test_every_alert_has_a_story_in_which_it_fires_and_ends_and_one_in_which_it_does_not():
    for name in alerts():
        stories = [story for story in STORIES if story.alert == name]
        assert any(story.fires and story.quiet for story in stories), f"{name} never fires"
        assert any(not story.fires for story in stories), f"{name} is never left in peace"
    assert {story.alert for story in STORIES} == set(alerts())


def expand(text, labels, value):
    """Write an annotation as Prometheus does."""
    text = text.replace("{{ $externalLabels.runbooks }}", BASE)
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels.get(found[1], ""), text)
    return re.sub(r"\{\{ \$value[^}]* \}\}", value, text)


def rules_of(alert):
    """Return the groups with this alert and with what it is made of, in the order of use."""
    recorded = yaml.safe_load((RULES / "recording.yml").read_text())["groups"]
    alerting = yaml.safe_load((RULES / "alerts.yml").read_text())["groups"]
    rule = alerts()[alert]
    used = set(re.findall(r"[\w:]+", rule["expr"]))
    found = [
        {**group, "rules": [rule for rule in group["rules"] if rule["record"] in used]}
        for group in recorded
    ] + [
        {**group, "rules": [rule for rule in group["rules"] if rule["alert"] == alert]}
        for group in alerting
    ]
    return [group for group in found if group["rules"]]


def names_of_stories():
    return [f"{story.alert}-{story.what}".replace(" ", "_") for story in STORIES]


@pytest.mark.parametrize("story", STORIES, ids=names_of_stories())
def test_alert(story, promtool, tmp_path):
    rule = alerts()[story.alert]
    checks = [
        {"eval_time": at, "alertname": story.alert, "exp_alerts": []} for at in story.quiet
    ] + [
        {
            "eval_time": at,
            "alertname": story.alert,
            "exp_alerts": [
                {
                    "exp_labels": {**story.labels, **rule["labels"]},
                    "exp_annotations": {
                        key: expand(text, story.labels, value)
                        for key, text in rule["annotations"].items()
                    },
                }
            ],
        }
        for at, value in story.fires.items()
    ]
    groups = rules_of(story.alert)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    test = {
        "rule_files": ["rules.yml"],
        # Below the five minutes for which a sample counts, or rules would not see each other.
        "evaluation_interval": {"1m": "1m", "5m": "4m"}[story.every],
        # Without it promtool takes them as they come, and an alert sees its ratio a minute late or not.
        "group_eval_order": [group["name"] for group in groups],
        "tests": [
            {
                "interval": story.every,
                "external_labels": {"runbooks": BASE},
                "input_series": [
                    {"series": name, "values": values} for name, values in story.series.items()
                ],
                "alert_rule_test": checks,
            }
        ],
    }
    path = tmp_path / "story.yml"
    path.write_text(yaml.safe_dump(test))
    done = subprocess.run(
        [promtool, "test", "rules", str(path)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_what_a_person_needs():
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"page", "ticket"}, name
        notes = rule["annotations"]
        assert set(notes) == {"summary", "description", "runbook_url"}, name
        assert notes["runbook_url"] == "{{ $externalLabels.runbooks }}/" + name + "/"
        assert len(notes["summary"]) <= 150, name


def test_every_alert_has_a_page_and_every_page_its_alert():
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"index"}
    assert pages == set(alerts())


@pytest.mark.parametrize("name", sorted(alerts()))
def test_a_page_says_what_to_do(name):
    page = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {name}\n")
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert headings == ["Meaning", "Impact", "Look", "Mitigate", "False alarms"]
    severity = alerts()[name]["labels"]["severity"]
    assert f"Severity: {severity}." in page


def test_the_windows_of_a_burn_rate_have_the_same_rule():
    text = yaml.safe_load((RULES / "recording.yml").read_text())
    shapes = {}
    for group in text["groups"]:
        for rule in group["rules"]:
            name, window = re.fullmatch(r"(.+?)((?:\d+[mhd])?)", rule["record"]).groups()
            if window and name.endswith(("ratio_rate", "increase")):
                shapes.setdefault(name, set()).add(rule["expr"].replace(f"[{window}]", "[]"))
    assert len(shapes) >= 3
    assert all(len(expressions) == 1 for expressions in shapes.values()), shapes
