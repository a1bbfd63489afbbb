"""Tells other controllers to look. Carries hints, never data."""
