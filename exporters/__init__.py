"""Tell: findings and state to others. Never decides."""
