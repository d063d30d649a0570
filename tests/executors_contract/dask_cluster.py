"""A Dask cluster of processes on loopback until standard input ends: a program for tests.

    python -m tests.executors_contract.dask_cluster

Its workers are started again by this program, and not by Dask's nannies: one that is killed
while it starts makes a nanny give up.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import threading

from distributed import LocalCluster

WORKERS = 2


def keep(number, address, folder, over):
    """Keep one worker running."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny"]
    command += ["--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard", "--memory-limit", "0"]
    command += ["--local-directory", f"{folder}/{number}", "--death-timeout", "20"]
    while not over.is_set():
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as worker:
            while worker.poll() is None and not over.wait(0.05):
                pass
            worker.kill()


def main():
    over = threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix="hush-tests-dask-") as folder,
        LocalCluster(
            n_workers=0,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        address = cluster.scheduler_address
        keepers = [
            threading.Thread(target=keep, args=(number, address, folder, over))
            for number in range(WORKERS)
        ]
        for keeper in keepers:
            keeper.start()
        print(address, flush=True)
        sys.stdin.read()
        over.set()
        for keeper in keepers:
            keeper.join()


if __name__ == "__main__":
    main()
