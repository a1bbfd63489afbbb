"""Run commands on every host that dials home.

Loads nothing: every door (`farhand.client`, `farhand.cli`, `farhand.boot`) is imported by name.
"""

from typing import Final

__all__ = ["__version__"]

# The one place where the version stands; the build reads it from here. Asking the installed
# metadata instead would cost an idle agent 1.5 MB.
__version__: Final = "0.1.0"
