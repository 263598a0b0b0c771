"""Scans that workers do: the daemon divides them and puts them into a queue in PostgreSQL, workers of a zone take them."""
