"""What certwatch says of itself: structured logs and its own metrics."""
