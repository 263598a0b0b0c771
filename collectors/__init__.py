"""Look: world to Observation. A module a source; never judges, never writes the inventory."""
