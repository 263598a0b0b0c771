"""Judging certificates: trust, paths. Pure: no I/O, no clock."""
