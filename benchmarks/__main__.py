"""Measures everything, or some of it, and prints one table.

python -m benchmarks [ROW ...] [--quick] [--no-peers] [--peers PYTHON] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

from benchmarks.crew import Crew, Worker
from benchmarks.measuring import measure_block
from benchmarks.printing import print_costs, print_outcomes
from benchmarks.rows import PEERS, PROGRAMS, blocks


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these blocks")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--loop", choices=("asyncio", "trio"))
    options = parser.parse_args()
    makers = {name: partial(Worker, *how) for name, how in PROGRAMS.items()}
    for name, module in PEERS.items():
        makers[name] = partial(Worker, module, python=options.peers)
    all_outcomes = []
    with Crew(makers) as crew:
        for block in blocks(quick=options.quick, peers=not options.no_peers, tiny=options.tiny):
            if options.rows and block.key not in options.rows:
                continue
            if options.loop and block.claims[0].subject.loop != options.loop:
                continue
            outcomes, costs = measure_block(crew, block)
            print_costs(costs)
            all_outcomes += outcomes
    print()
    print_outcomes(all_outcomes)


if __name__ == "__main__":
    main()
