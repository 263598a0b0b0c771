"""Certificate Transparency, pure: bytes of logs → values, proofs, names. No I/O; what fetches is `collectors/ct`."""
