"""The agents' side door: gRPC streams in, events out. Decides nothing."""
