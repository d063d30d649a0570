"""Writes the rules of deploy/prometheus as what the Prometheus operator reads; a test runs it again.

python deploy/kubernetes/components/service-monitor/generate.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
RULES = HERE.parents[2] / "prometheus" / "rules"
HEAD = """\
# Made of deploy/prometheus/rules by generate.py beside this file; change it there.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: hush-{name}
spec:
"""


def write_rules(file: Path) -> None:
    """Write the rules of each file as one object; their text stays as it is, comments too.

    Args:
        file: where to.
    """
    made = []
    for name in ("recording", "alerts"):
        text = (RULES / f"{name}.yml").read_text(encoding="utf-8")
        _, begin, groups = text.partition("\ngroups:\n")
        lines = (begin.lstrip() + groups).splitlines()
        body = "\n".join(f"  {line}" if line else "" for line in lines)
        made.append(HEAD.format(name=name) + body.rstrip() + "\n")
    file.write_text("---\n".join(made), encoding="utf-8")


if __name__ == "__main__":
    write_rules(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "rules.yaml")
