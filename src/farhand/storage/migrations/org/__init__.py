"""The migrations of an org's database, in the order of their numbers."""
