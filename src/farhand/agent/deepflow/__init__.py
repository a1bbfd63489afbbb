"""An agent that dials a DeepFlow server and answers it as a DeepFlow agent would.

Knows nothing of farhand's own stream: no journal, no spool, no identity that is proved. `link`
keeps the stream, `desk` says what each request means, `offers` what can be asked for, `errand`
runs one program, and `daemon` puts them together.
"""
