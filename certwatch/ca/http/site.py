"""What the CA's routes know of it."""

from dataclasses import dataclass

from certwatch.ca.published import Published
from certwatch.ca.responder import Responder
from certwatch.ca.service import Service
from certwatch.ca.settings import CASettings
from certwatch.model.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class CASite:
    #: Acts and reads without blocking the event loop.
    service: Service
    published: Published
    responder: Responder
    clock: Clock

    @property
    def settings(self) -> CASettings:
        return self.service.authority.settings
