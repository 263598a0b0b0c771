"""certwatch: finds every certificate, judges it, tells before it causes an outage."""

__version__ = "0.1.0"
