"""Looks on request, as Prometheus' blackbox_exporter does: `/probe`."""
