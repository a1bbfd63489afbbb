"""Where jobs, runs and output are kept. The store holds the truth."""
