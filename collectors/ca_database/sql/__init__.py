"""CA databases behind SQL: a connection that only reads, and what each CA's tables say."""
