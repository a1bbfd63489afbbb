"""The composition roots: one function builds each process. Holds no behaviour."""
