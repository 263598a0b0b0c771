"""`/findings`, `/findings/{id}`, `/rules` and `/rules/{id}`: what is wrong, and why that matters."""

from dataclasses import asdict, dataclass
from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from certwatch.inventory.store import FindingQuery, InventoryError, Reader
from certwatch.model.finding import SEVERITIES, FindingID
from certwatch.web.pages.certificates import MAX_FIELD, Unasked
from certwatch.web.pages.page import ASKED_TOO_MUCH, Missing, Pages
from certwatch.web.render import query_path

PER_PAGE = 100
#: SQLite's integers end there.
MOST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The form, as it was sent."""

    severity: str = ""
    rule: str = ""
    owner: str = ""
    #: "yes": those nobody answers for.
    unowned: str = ""
    #: "yes": resolved ones too.
    all: str = ""
    #: The finding after which the page goes on.
    after: str = ""


def query_of(asked: Asked) -> FindingQuery:
    """Raises Unasked."""
    if asked.severity and asked.severity not in SEVERITIES:
        raise Unasked(f"severity: choose one of {', '.join(SEVERITIES)}")
    if asked.unowned and asked.owner:
        raise Unasked("Owner and nobody contradict each other: choose one")
    if max(len(asked.rule), len(asked.owner)) > MAX_FIELD:
        raise Unasked(f"rule, owner: longer than {MAX_FIELD} characters. Shorten it")
    return FindingQuery(
        severity=asked.severity or None,
        rule=asked.rule or None,
        owner="" if asked.unowned else asked.owner or None,
        all=bool(asked.all),
        after=_number(asked.after) if asked.after else None,
        limit=PER_PAGE + 1,
    )


def _number(text: str) -> FindingID:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MOST):
        raise Unasked(f"after: {text[:40]!r} is no finding's number. Begin again without it")
    return FindingID(int(text))


class Findings:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._rules = {each.rule.id: each for each in pages.site.rules}

    async def list(self, request: Request) -> Response:
        sent = request.query_params
        asked = Asked(**{name: sent.get(name, "").strip() for name in asdict(Asked())})

        def ask(reader: Reader) -> tuple[str, dict[str, object], int]:
            values: dict[str, object] = {
                "asked": asked,
                "rules": sorted({*self._rules, *filter(None, [asked.rule[:100]])}),
                "findings": (),
                "error": None,
                "more": None,
                "per_page": PER_PAGE,
                "narrowed": asked != Asked(),
                "first": query_path("/findings", **{**asdict(asked), "after": ""}),
            }
            try:
                found = list(islice(reader.findings(query_of(asked)), PER_PAGE + 1))
            except Unasked as error:
                return "findings.html", {**values, "error": str(error)}, 400
            except InventoryError as error:
                if error.kind not in ASKED_TOO_MUCH:
                    raise
                return "findings.html", {**values, "error": error.message}, ASKED_TOO_MUCH[error.kind]
            shown = found[:PER_PAGE]
            if len(found) > PER_PAGE:
                values["more"] = query_path("/findings", **{**asdict(asked), "after": shown[-1].id})
            return "findings.html", {**values, "findings": shown}, 200

        return await self._pages.show(request, ask)

    async def one(self, request: Request) -> Response:
        given = request.path_params["id"]

        def ask(reader: Reader) -> tuple[str, dict[str, object], int]:
            finding = None
            if given.isascii() and given.isdigit() and len(given) < 20 and int(given) <= MOST:
                finding = reader.finding(FindingID(int(given)))
            if finding is None:
                raise Missing("No such finding", f"There is none with the number {given[:100]}.")
            return "finding.html", {"finding": finding, "rule": self._rules.get(finding.rule)}, 200

        return await self._pages.show(request, ask)

    async def rules(self, request: Request) -> Response:
        return await self._pages.show(
            request, lambda reader: ("rules.html", {"rules": self._pages.site.rules}, 200)
        )

    async def rule(self, request: Request) -> Response:
        given = request.path_params["id"]

        def ask(reader: Reader) -> tuple[str, dict[str, object], int]:
            if given not in self._rules:
                raise Missing("No such rule", f"No rule has the name {given[:100]}. See the list of rules.")
            return "rule.html", {"known": self._rules[given]}, 200

        return await self._pages.show(request, ask)
