"""What every test stands on: no setting of the caller's reaches it, and Hypothesis is steady.

`make flake` explores instead: `--hypothesis-profile=explore` draws new examples each time.
"""

import os

import pytest
from hypothesis import settings

# No deadline: a crowded machine is no failure. The same examples each time: neither is luck.
settings.register_profile("steady", deadline=None, database=None, derandomize=True)
settings.register_profile("explore", deadline=None, database=None, print_blob=True)
settings.load_profile("steady")


def pytest_configure(config: pytest.Config) -> None:
    """Forget what would steer farhand or send its connections elsewhere."""
    del config
    for name in list(os.environ):
        if name.startswith("FARHAND_") or name.lower().endswith("_proxy"):
            del os.environ[name]
