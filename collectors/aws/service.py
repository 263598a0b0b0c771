"""What a service's module gives: how it is looked at, and the operations that this takes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from certwatch.model.observation import Incomplete, Observation, Unchanged
from collectors.aws.region import Region

Said = Observation | Incomplete | Unchanged
Look = Callable[[Region], Iterator[Said]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    #: As in locations, scopes and the config.
    name: str
    look: Look
    #: Operations by boto3's name of the service.
    operations: Mapping[str, tuple[str, ...]]
    #: Asked once for an account, after all its regions.
    is_global: bool = False
    #: boto3's name, where it is asked whether a region has it. Empty: every region does.
    available_as: str = ""
