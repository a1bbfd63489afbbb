"""The migrations of the control database, in the order of their numbers."""
