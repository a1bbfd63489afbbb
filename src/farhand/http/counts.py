"""What the front door does and has done, in plain numbers.

Counts and decides nothing; `metrics` writes it down for whoever watches.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

COUNTS: Final = "farhand.counts"  # in a request's scope: the Counts of its door


@dataclass(slots=True)
class Counts:
    """One front door. *answers* by status, *refused* by code; the rest says itself.

    *connections* are open now, *handshakes* will be, *requests* are being answered; *stuck* readers
    were let go, *accept_failures* say how often the system gave no socket.
    """

    connections: int = 0
    handshakes: int = 0
    requests: int = 0
    stuck: int = 0
    accept_failures: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
