"""What farhand must hold, measured on real processes over loopback. Never asserts."""
