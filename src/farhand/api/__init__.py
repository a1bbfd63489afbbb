"""JSON shapes and problem+json: what people's programs and the controller say to each other."""
