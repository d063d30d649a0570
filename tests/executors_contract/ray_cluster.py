"""A Ray cluster on this machine until standard input ends: a program for tests.

python -m tests.executors_contract.ray_cluster
"""

from __future__ import annotations

import sys
import tempfile

import ray


def main():
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        context = ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=128 << 20,
            log_to_driver=False,
            _temp_dir=folder,
        )
        print(context.address_info["gcs_address"], flush=True)
        sys.stdin.read()
        ray.shutdown()


if __name__ == "__main__":
    main()
