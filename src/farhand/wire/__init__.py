"""Bytes on a link, turned into domain events and back. Decides nothing."""
