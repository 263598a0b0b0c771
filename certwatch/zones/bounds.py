"""What a worker that hands in over HTTPS is believed of: places that its collector's config leads to."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from certwatch.engine.assemble import collector_job
from certwatch.model.clock import Clock
from certwatch.model.location import LocationURI
from certwatch.plugins import registry
from certwatch.plugins.collector import CollectorContext, Confined
from certwatch.plugins.guard import PluginFailed, guard
from certwatch.zones.spec import read_spec, settings_of

#: Collectors that are kept ready.
MOST = 64

LeadsTo = Callable[[LocationURI], bool | None]


class Bounds:
    """May be asked from any thread: what two make at once is the same."""

    def __init__(self, env: Mapping[str, str], clock: Clock) -> None:
        self._env = env
        self._clock = clock
        self._known: OrderedDict[str, LeadsTo] = OrderedDict()

    def unsure(self, spec: str, places: Sequence[LocationURI]) -> list[LocationURI]:
        """Those of which the config alone does not say whether it leads there. Blocking. Raises ConfigError; ValueError: it does
        not lead to one of them."""
        leads_to = self._known.get(spec)
        if leads_to is None:
            leads_to = self._known[spec] = self._made(spec)
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        unsure = []
        for place in places:
            verdict = leads_to(place)
            if verdict is False:
                told = read_spec(spec)
                raise ValueError(f"{place}: no place that the config of {told.name} ({told.kind}) leads to")
            if verdict is None:
                unsure.append(place)
        return unsure

    def _made(self, text: str) -> LeadsTo:
        spec = read_spec(text)
        if not hasattr(registry.load("collectors", spec.kind), "leads_to"):
            return _unknown
        settings = settings_of(spec, self._env)
        try:
            with guard("collectors", spec.kind):
                collector = collector_job(settings, CollectorContext(clock=self._clock)).build()
        except PluginFailed as error:
            raise ValueError(f"{spec.name}: {error}") from error
        confined = cast("Confined", collector)
        # What the worker's environment says may be something else than what this one says.
        varies = "${" in text

        def leads_to(place: LocationURI) -> bool | None:
            try:
                with guard("collectors", spec.kind):
                    verdict = confined.leads_to(place)
            except PluginFailed as error:
                raise ValueError(f"{spec.name}: {error}") from error
            return None if verdict is False and varies else verdict

        return leads_to


def _unknown(place: LocationURI) -> None:
    """Of a plug-in that does not tell."""
