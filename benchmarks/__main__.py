"""Measures everything, or some of it, and makes one table of it.

Without names everything is measured. What a full run finds is written into
docs/benchmarks.md, with its plots and the figures as JSON beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks.environment import ROOT
from benchmarks.everything import KEYS, Wishes, measure_everything
from benchmarks.outcomes import Table

PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"some of: {', '.join(KEYS)}")
    parser.add_argument("--quick", action="store_true", help="a minute or two instead of ten")
    parser.add_argument("--loop", choices=("asyncio", "trio"), help="only on this loop")
    parser.add_argument(
        "--peers",
        metavar="PYTHON",
        default=str(PEERS_PYTHON) if PEERS_PYTHON.exists() else sys.executable,
        help="the interpreter that has other runtimes (make bench-peers makes one)",
    )
    parser.add_argument("--no-peers", action="store_true", help="leave other runtimes out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--write", action="store_true", help="write the page though not all is new")
    parser.add_argument("--render", type=Path, metavar="FILE", help="the page of these figures")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.rows) - set(KEYS):
        parser.error(f"unknown row {', '.join(sorted(unknown))}; there are: {', '.join(KEYS)}")
    if options.render:
        table = Table.from_json(json.loads(options.render.read_text(encoding="utf-8")))
    else:
        table = measure_everything(
            Wishes(
                tuple(options.rows) or KEYS,
                options.loop,
                options.quick,
                options.tiny,
                None if options.no_peers else options.peers,
            )
        )
    if options.json:
        options.json.write_text(json.dumps(table.to_json(), indent=1) + "\n", encoding="utf-8")
    whole = not (options.rows or options.loop or options.quick or options.tiny)
    if whole or options.write or options.render:
        # Only here: plots need a package that nothing else does.
        from benchmarks.page import write_page

        for path in write_page(table):
            print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
