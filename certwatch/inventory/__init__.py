"""Keeps what was seen: certificates, locations, sightings, scans, findings."""
