"""Keeps what was seen: certificates, locations, sightings, scans, findings."""

from certwatch.inventory.open import open_inventory

__all__ = ["open_inventory"]
