"""What the product does: jobs, sessions, output. Knows neither gRPC nor HTTP nor SQL."""
