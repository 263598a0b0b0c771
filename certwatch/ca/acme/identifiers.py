"""Names as ACME has them: {"type": "dns", "value": "*.example.com"}."""

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from certwatch.ca.acme.problem import Part, Problem, ProblemType
from certwatch.ca.failure import CAError
from certwatch.ca.names import check_allowed, normal
from certwatch.ca.profiles import MOST_NAMES, Profile
from certwatch.model.shown import shown


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    #: "dns" or "ip" (RFC 8738).
    kind: str
    #: In normal form; of a wildcard with "*.".
    value: str

    @property
    def name(self) -> str:
        """As the CA has it."""
        return f"{self.kind}:{self.value}"

    @property
    def is_wildcard(self) -> bool:
        return self.value.startswith("*.")

    @property
    def base(self) -> str:
        """What is shown to be held: without "*." (RFC 8555, 7.1.3)."""
        return self.value.removeprefix("*.")


def read(payload: dict[str, Any]) -> tuple[Identifier, ...]:
    """Each once, in order. Raises Problem, naming every one that is not possible."""
    asked = payload.get("identifiers")
    if not isinstance(asked, list) or not asked:
        raise Problem("malformed", "an order has a list of identifiers")
    if len(asked) > MOST_NAMES:
        raise Problem("malformed", f"{len(asked)} names in one order: at most {MOST_NAMES}")
    found, wrong = list[Identifier](), list[Part]()
    for each in asked:
        kind, value = (each.get("type"), each.get("value")) if isinstance(each, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(value, str):
            raise Problem("malformed", "an identifier has a type and a value, both text")
        if kind not in ("dns", "ip"):
            wrong.append(
                Part(
                    "unsupportedIdentifier",
                    f"names of type {shown(kind)[:40]} cannot be validated",
                    (kind[:40], value[:300]),
                )
            )
            continue
        try:
            name = normal(f"{kind}:{value}")
        except CAError as error:
            wrong.append(
                Part(
                    "malformed" if kind == "ip" else "rejectedIdentifier", error.message, (kind, value[:300])
                )
            )
            continue
        found.append(Identifier(kind, name.partition(":")[2]))
    _raise(wrong)
    return tuple(dict.fromkeys(found))


def check(identifiers: tuple[Identifier, ...], profile: Profile, requester: str) -> None:
    """Raises Problem "rejectedIdentifier", naming every one that the profile does not give this requester."""
    wrong = []
    for each in identifiers:
        try:
            check_allowed([each.name], profile, requester, local=False)
        except CAError as error:
            wrong.append(Part("rejectedIdentifier", error.message, (each.kind, each.value)))
    _raise(wrong)


def _raise(wrong: list[Part]) -> None:
    if not wrong:
        return
    first = wrong[0]
    type: ProblemType = first.type
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    raise Problem(type, f"{first.detail}{more}", parts=wrong if len(wrong) > 1 else ())


def reverse_name(address: str) -> str:
    """What stands for an address in SNI (RFC 8738, 6)."""
    return ip_address(address).reverse_pointer
