"""From a CSR to a certificate: the CA's own policy, lint, intent, signature and entry, as for everybody else."""

from dataclasses import replace

from certwatch.ca.acme.accounts import Account, maker_of
from certwatch.ca.acme.orders import AcmeOrder
from certwatch.ca.acme.problem import Problem, of_ca
from certwatch.ca.authority import Authority
from certwatch.ca.failure import CAError
from certwatch.ca.issue import check, issue
from certwatch.ca.profiles import profile_named
from certwatch.ca.records import enter
from certwatch.ca.request import Order, check_key, decoded, load_csr, load_public, order_of, public_bytes
from certwatch.telemetry.metrics import CA_REQUESTS, CA_WAITING


def finalize(authority: Authority, order: AcmeOrder, account: Account, csr: bytes) -> None:
    """The order must be ready. Afterwards it stands in the CA's books, and is processing (people must approve), valid or
    invalid. Raises Problem; the order stays ready then, unless it was signed for."""
    try:
        wanted = _order(authority, order, account, csr)
        with authority.turn:
            check(authority, wanted)
            needed = authority.settings.profiles[order.profile].approvals
            with authority.act() as act:
                [request] = enter(act, [wanted], needed=needed)
                taken = act.connection.execute(
                    "UPDATE acme_orders SET request = ? WHERE id = ? AND request IS NULL", (request, order.id)
                ).rowcount
                if not taken:
                    raise Problem("orderNotReady", "the order has been finalized already")
            if needed:
                CA_REQUESTS.labels(wanted.profile, wanted.channel, "waiting").inc()
                CA_WAITING.inc()
                return
            [answer] = issue(authority, [(wanted, request)])
    except CAError as error:
        raise of_ca(error, "badCSR") from error
    if isinstance(answer, CAError):
        raise of_ca(answer, "badCSR") from answer


def _order(authority: Authority, order: AcmeOrder, account: Account, data: bytes) -> Order:
    """Raises Problem, CAError."""
    profile = profile_named(authority.settings.profiles, order.profile)
    csr = load_csr(data)
    wanted = order_of(
        csr,
        profile,
        requester=account.requester,
        submitter=account.requester,
        channel="acme",
        replaces=order.replaces,
    )
    maker = maker_of(authority, account)
    wanted = replace(wanted, behind=(maker,) if maker else ())
    check_key(load_public(wanted.public_key), profile)
    if wanted.public_key == public_bytes(account.key.public):
        raise Problem("badCSR", "the CSR's key is the account's. Make another one for the certificate")
    ordered = {each.name for each in order.identifiers}
    asked = set(wanted.names)
    common = [value for short, value in wanted.subject if short == "CN"]
    asked |= {f"dns:{each.lower()}" for each in common if f"ip:{each}" not in ordered}
    if asked != ordered:
        extra, missing = sorted(asked - ordered), sorted(ordered - asked)
        said = [f"has {', '.join(extra)}"] if extra else []
        said += [f"lacks {', '.join(missing)}"] if missing else []
        raise Problem("badCSR", f"the CSR is not for the names of the order: it {' and '.join(said)}")
    return wanted


def resume(authority: Authority) -> None:
    """Requests that were granted, and for which a crash came before anything was intended: they are made now."""
    left = authority.rows(
        "SELECT r.id, r.wanted FROM requests r JOIN acme_orders o ON o.request = r.id WHERE r.state = 'approved'"
        " AND NOT EXISTS (SELECT 1 FROM certificates c WHERE c.request = r.id)"
    )
    if left:
        issue(authority, [(decoded(wanted), id) for id, wanted in left])
