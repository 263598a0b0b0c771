"""A module for each service that holds or uses certificates."""
