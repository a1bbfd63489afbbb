"""DeepFlow's HTTP API for whoever was written against it: list an agent's commands, run one.

A façade: every run is an ordinary job of farhand's own. Off until an operator turns it on.
"""

from typing import Final

FACADE: Final = "deepflow"  # the tag of its addresses
