"""A Dask cluster in a program of its own, which a test can kill.

Run as a script: the number of workers, and what TLS needs where it is to be used.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def cluster(workers, *tls):
    """Yield the program and the address of its scheduler."""
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.executors.dask_cluster", str(workers), *map(str, tls)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            yield program, program.stdout.readline().strip()
        finally:
            if program.poll() is None:
                program.stdin.close()


def security_of(authority, certificate, key):
    """Return Dask's Security with the same certificate for everybody."""
    from distributed.security import Security

    own = {
        f"tls_{role}_{part}": str(value)
        for role in ("client", "scheduler", "worker")
        for part, value in (("cert", certificate), ("key", key))
    }
    return Security(tls_ca_file=str(authority), require_encryption=True, **own)


def main():
    from distributed import LocalCluster

    workers, *tls = sys.argv[1:]
    with LocalCluster(
        n_workers=int(workers),
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=60,
        security=security_of(*tls) if tls else None,
    ) as local:
        print(local.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
