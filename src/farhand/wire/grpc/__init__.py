"""gRPC over HTTP/2 in both roles. Knows nothing of runs."""
