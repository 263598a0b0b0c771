"""Bytes to the model's words, tolerant: what cannot be read is named, never refused. No I/O."""
