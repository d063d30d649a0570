"""The module analysis of example 13 in other processes or on a cluster, by one flag.

    python examples/15_scale_out.py --on processes
    python examples/15_scale_out.py --on dask --address tcp://scheduler:8786
    python examples/15_scale_out.py --on here      # for comparison: all in this process

The workflow is that of example 13, imported from there and not changed: where the items of its
map run is said to the engine that runs it. The trace is the same too, but for an attempt between
each item and its nodes, which says what the way to the worker took; their resource is the worker.

Dask needs pip install 'hush-runtime[dask]', Ray 'hush-runtime[ray]'. Without --address each
starts a cluster of processes on this machine.
"""

import importlib
import os
import platform
import sysconfig
import tempfile
from collections import Counter
from pathlib import Path

import cloudpickle
import options
import show
import tracing
from modules import add_broken, choose, find_modules, is_broken
from opentelemetry.sdk.trace import ReadableSpan

from hush.core import Hush
from hush.executors import DaskExecutor, Executor, InProcess, Processes, RayExecutor

example_13 = importlib.import_module("13_parallel_advanced")

PLACES = ("here", "processes", "dask", "ray")


def executor_of(place: str, address: str | None, workers: int | None) -> Executor | InProcess:
    """Return where items run; nothing starts or connects yet."""
    match place:
        case "processes":
            return Processes(workers)
        case "dask":
            return DaskExecutor(address, max_workers=workers)
        case "ray":
            return RayExecutor(address, max_workers=workers)
        case _:
            return InProcess()


def main() -> None:
    """Run the workflow and show what came of it, and who did it."""
    parser = options.Parser(__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="default: this Python's own library")
    parser.add_argument("--on", choices=PLACES, default="processes", help="where items run")
    parser.add_argument("--address", metavar="URL", help="of a Dask or Ray cluster that there is")
    parser.add_argument(
        "--workers",
        type=options.positive,
        metavar="N",
        help="of what is started (one for each CPU)",
    )
    parser.add_argument(
        "--limit", type=options.positive, default=400, metavar="N", help="files (400)"
    )
    parser.add_argument(
        "--concurrency", type=options.positive, default=64, metavar="N", help="in flight (64)"
    )
    given = parser.parse()
    if given.address and given.on not in {"dask", "ray"}:
        parser.error(f"--on {given.on} takes no --address")
    folder = given.folder or Path(sysconfig.get_path("stdlib"))
    modules = find_modules(folder) if folder.is_dir() else {}
    if not modules:
        parser.error(f"no .py files in {folder}")
    names = choose(list(modules), given.limit)

    # What the compiler thinks of the modules' style is not asked, here nor in a worker.
    os.environ["PYTHONWARNINGS"] = "ignore::SyntaxWarning,ignore::DeprecationWarning"
    # Workers elsewhere have no such file: what it defines goes along, and not only its name.
    cloudpickle.register_pickle_by_value(example_13)
    engine = Hush(
        example_13.build(given.concurrency),
        executor=executor_of(given.on, given.address, given.workers),
    )

    what = given.folder or f"The library of Python {platform.python_version()}"
    how = f"at most {given.concurrency} in flight, on {given.on}, {given.backend}"
    show.say(f"{what}: {len(names):,} of {len(modules):,} modules, {how}", "bold")
    with tempfile.TemporaryDirectory() as extra:
        if given.folder is None and not any(map(is_broken, modules)):
            names += add_broken(modules, extra)
            show.say("It has no broken files; three were added from a temporary folder.")
        traces = tracing.Tracing()
        with show.Progress() as progress:
            result = engine.run_sync(
                {"names": names, "paths": [str(modules[name].resolve()) for name in names]},
                backend=given.backend,
                on_event=progress,
            )
    show.report(result)
    show.failures(result["failed"])
    traces.show(result.trace_id)
    tell_workers(traces.spans(result.trace_id))
    traces.tell_where(f"python examples/15_scale_out.py --on {given.on}")


def tell_workers(spans: list[ReadableSpan]) -> None:
    """Print the shape of a trace, and how many of its spans each worker made."""
    show.title("Spans, by name")
    for name, count in sorted(Counter(span.name for span in spans).items()):
        show.say(f"  {name:<28}{count:>6,}")
    show.title("Spans, by who made them")
    makers = Counter(
        str(span.resource.attributes.get("hush.worker.name", "this process")) for span in spans
    )
    for name, count in sorted(makers.items()):
        show.say(f"  {name:<28}{count:>6,}", one_line=True)


if __name__ == "__main__":
    options.run(main)
