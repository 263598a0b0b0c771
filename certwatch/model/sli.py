"""Measured indicators."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One value of one indicator."""

    #: Metric name without the "certwatch_" in front, unit in it ("expiry_lead_seconds").
    name: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    measured_at: datetime
