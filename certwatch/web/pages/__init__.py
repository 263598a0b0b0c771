"""The pages for people: read-only HTML, without a script."""
