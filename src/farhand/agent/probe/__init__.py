"""Diagnosis without tools: small programs that need nothing but the interpreter of the agent."""
