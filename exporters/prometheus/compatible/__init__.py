"""Metrics by the names and labels of exporters that certwatch can stand in for."""
