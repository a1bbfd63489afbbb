"""Public fakes for tests: a clock to turn by hand, agents and whole worlds in one loop."""
