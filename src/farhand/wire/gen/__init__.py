"""Generated from proto/ by `make proto`. Nobody edits it; `make check` compares."""
