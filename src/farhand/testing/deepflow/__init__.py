"""A DeepFlow agent and a DeepFlow server as they really behave, faults included.

For tests of whoever speaks to them: `FakeDeepFlowAgent` dials a controller, `FakeDeepFlowServer`
is dialled by an agent. What they decide is in `Responder` and in `Managers`, which do no I/O and
can be driven without a network. They open sockets; nothing in `farhand.testing` itself does.
"""

from farhand.testing.deepflow.agent import FakeDeepFlowAgent
from farhand.testing.deepflow.managers import CommandFailed, Managers
from farhand.testing.deepflow.responder import Behaviour, Outcome, Responder, hold, print_out
from farhand.testing.deepflow.server import FakeDeepFlowServer

__all__ = [
    "Behaviour",
    "CommandFailed",
    "FakeDeepFlowAgent",
    "FakeDeepFlowServer",
    "Managers",
    "Outcome",
    "Responder",
    "hold",
    "print_out",
]
