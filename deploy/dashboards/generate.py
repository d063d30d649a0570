"""Write the dashboards as the JSON that Grafana loads.

    python deploy/dashboards/generate.py [FOLDER]

FOLDER is by default deploy/grafana/dashboards. Needs grafana-foundation-sdk, which is among the
packages for development. tests/deploy compares what is committed with what this makes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import export_health
import fan_in
import language_models
import maps
import runs
from grafana_foundation_sdk.cog.encoder import JSONEncoder

BUILDERS = (runs.build, fan_in.build, maps.build, language_models.build, export_health.build)
COMMITTED = Path(__file__).parents[1] / "grafana" / "dashboards"


def number_panels(made: dict[str, Any]) -> dict[str, Any]:
    """Give each panel a number of its own: links to a panel need one that stays."""
    for number, panel in enumerate(made["panels"], start=1):
        panel["id"] = number
    return made


def main(arguments: list[str]) -> int:
    """Write each dashboard into a file that is named after its uid."""
    folder = Path(arguments[0]) if arguments else COMMITTED
    folder.mkdir(parents=True, exist_ok=True)
    for build in BUILDERS:
        made = json.loads(JSONEncoder(sort_keys=True).encode(build().build()))
        text = json.dumps(number_panels(made), indent=1, sort_keys=True, ensure_ascii=False)
        (folder / f"{made['uid']}.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
