"""`/api/v1`: the inventory for programs. Answers have the shapes that `--json` prints."""
