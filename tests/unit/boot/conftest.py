"""What tests of whole processes need."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def quiet_again() -> Iterator[None]:
    """Logging is set up for a process; behind the test it is as it was."""
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
