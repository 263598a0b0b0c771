"""Judge: facts and now to problems. No I/O."""
