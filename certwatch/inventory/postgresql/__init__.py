"""The inventory in PostgreSQL: many processes on many machines read and write it."""
