"""``python -m hush.cli``: the command ``hush`` where its script is not on the path."""

from __future__ import annotations

import sys

from hush.cli.main import main

sys.exit(main())
