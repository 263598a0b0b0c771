"""What can be asked of a CA, by name, with plain values: the command line asks so, in its own process or the server's."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca import approvals, crl, cross, found, rotation
from certwatch.ca.authority import Authority
from certwatch.ca.crl import serial_of
from certwatch.ca.failure import CAError
from certwatch.ca.issue import Certified
from certwatch.ca.profiles import profile_named
from certwatch.ca.request import load_csr, order_of
from certwatch.ca.signer import KEY_TYPES
from certwatch.model.instants import iso

Values = Mapping[str, Any]

#: Seconds that an exercise keeps a responder from answering: it ends even if nobody ends it.
LONGEST_PAUSE = 6 * 3600.0


def _answer(result: Certified | approvals.Waiting) -> dict[str, Any]:
    if isinstance(result, approvals.Waiting):
        return {"state": "waiting", "request": result.request, "needed": result.needed}
    return {
        "state": "issued",
        "request": result.request,
        "serial": result.serial,
        "certificate": result.certificate.public_bytes(Encoding.PEM).decode(),
        "chain": result.chain.decode(),
        "not_after": result.certificate.not_valid_after_utc.isoformat().replace("+00:00", "Z"),
        "issuer": result.issuer.name,
    }


def sign(authority: Authority, values: Values) -> dict[str, Any]:
    """csr (text), profile, requester, submitter, names, lifetime_seconds, issuer."""
    profile = profile_named(authority.settings.profiles, str(values["profile"]))
    seconds = values.get("lifetime_seconds")
    order = order_of(
        load_csr(str(values["csr"]).encode()),
        profile,
        requester=str(values["requester"]),
        submitter=str(values["submitter"]),
        names=tuple(values.get("names") or ()),
        lifetime=None if seconds is None else timedelta(seconds=int(seconds)),
        issuer=values.get("issuer"),
    )
    return _answer(approvals.submit(authority, order))


def approve(authority: Authority, values: Values) -> dict[str, Any]:
    return _answer(approvals.approve(authority, int(values["request"]), str(values["person"])))


def refuse(authority: Authority, values: Values) -> dict[str, Any]:
    approvals.refuse(authority, int(values["request"]), str(values["person"]))
    return {"state": "refused", "request": int(values["request"])}


def revoke(authority: Authority, values: Values) -> dict[str, Any]:
    crl.revoke(authority, str(values["serial"]), str(values["reason"]), str(values["person"]))
    return {"state": "revoked", "serial": str(values["serial"])}


def make_crl(authority: Authority, values: Values) -> dict[str, Any]:
    issuer = authority.issuer(values.get("issuer"))
    der = crl.current(authority, issuer, int(values.get("partition") or 0))
    return {"crl": der.hex(), "issuer": issuer.name}


def enrol(authority: Authority, values: Values) -> dict[str, Any]:
    """requester, profile, names, lifetime_seconds, person."""
    from certwatch.ca import enrolment

    token = enrolment.grant(
        authority,
        requester=str(values["requester"]),
        profile=str(values["profile"]),
        names=[str(each) for each in values["names"]],
        lifetime=timedelta(seconds=int(values["lifetime_seconds"])),
        person=str(values["person"]),
    )
    return {"token": token}


def bind(authority: Authority, values: Values) -> dict[str, Any]:
    """kid, person."""
    from certwatch.ca.acme import accounts

    kid = str(values["kid"])
    return {"kid": kid, "hmac_key": accounts.bind(authority, kid, str(values["person"]))}


def unbind(authority: Authority, values: Values) -> dict[str, Any]:
    """kid, person."""
    from certwatch.ca.acme import accounts

    return {"accounts": accounts.unbind(authority, str(values["kid"]), str(values["person"]))}


def renew_now(authority: Authority, values: Values) -> dict[str, Any]:
    """serials (hex), or issuer; why, person."""
    from certwatch.ca.acme import renewal

    serials = [serial_of(str(each)) for each in values.get("serials") or ()]
    if not serials:
        serials = renewal.live_serials(authority, issuer=values.get("issuer"))
    return {"called": renewal.call(authority, serials, str(values["why"])[:500], str(values["person"]))}


def pause_ocsp(authority: Authority, values: Values) -> dict[str, Any]:
    """fingerprint (hex, of an issuer's certificate), seconds (0: no longer): an exercise. Until then, and until the process
    ends, nothing is answered about what that issuer issued."""
    wanted = str(values["fingerprint"]).lower()
    seconds = float(values["seconds"])
    if not 0 <= seconds <= LONGEST_PAUSE:
        raise CAError("usage", f"a responder is out for {LONGEST_PAUSE:g} s at most")
    for each in authority.issuers(retired=True):
        if each.certificate.fingerprint(SHA256()).hex() == wanted:
            if each.kind != "intermediate":
                raise CAError(
                    "usage", f"{each.name} is no intermediate: its responder answers for all that is below it"
                )
            authority.ocsp_paused[each.id] = time.monotonic() + seconds
            with authority.act() as act:
                act.append("remediation", [{"event": "ocsp-paused", "issuer": each.name, "seconds": seconds}])
            return {"issuer": each.name, "seconds": seconds}
    raise CAError("not-found", "this CA has no issuer with that certificate")


#: What others may have written into the ledger.
NOTES = frozenset({"remediation"})


def rotation_plan(authority: Authority, values: Values) -> dict[str, Any]:
    """issuer, successor."""
    planned = rotation.plan(authority, values.get("issuer"), successor=values.get("successor"))
    until = planned.dependents.until
    return {
        "issuer": planned.former.name,
        "environment": planned.former.environment,
        "ends": iso(planned.former.certificate.not_valid_after_utc),
        "successor": planned.successor,
        "root": planned.root,
        "live": planned.dependents.count,
        "live_until": iso(until) if until is not None else None,
    }


def rotate(authority: Authority, values: Values) -> dict[str, Any]:
    """issuer, successor, key_type, place, person."""
    planned = rotation.plan(authority, values.get("issuer"), successor=values.get("successor"))
    key_type = str(values.get("key_type") or "ec-p256")
    if key_type not in KEY_TYPES:
        raise CAError("usage", f'"{key_type[:60]}" is no kind of key (known: {", ".join(KEY_TYPES)})')
    made = rotation.rotate(
        authority,
        planned,
        by=str(values["person"]),
        key_type=key_type,
        place=values.get("place"),
    )
    return {
        "issuer": planned.former.name,
        "successor": made.name,
        "key": made.key,
        "attested": made.attested,
        "certificate": made.certificate.decode() if made.certificate is not None else None,
        "csr": (made.csr or b"").decode(),
    }


def retire(authority: Authority, values: Values) -> dict[str, Any]:
    return {"retired": rotation.retire(authority)}


def install(authority: Authority, values: Values) -> dict[str, Any]:
    """name, certificate (PEM)."""
    issuer = found.install(authority, str(values["name"]), str(values["certificate"]).encode())
    return {"name": issuer.name, "not_after": iso(issuer.certificate.not_valid_after_utc)}


def cross_sign(authority: Authority, values: Values) -> dict[str, Any]:
    """certificate (PEM), issuer, profile, lifetime_seconds, person."""
    seconds = values.get("lifetime_seconds")
    return _answer(
        cross.cross_sign(
            authority,
            str(values["certificate"]).encode(),
            by=str(values["person"]),
            issuer=values.get("issuer"),
            profile=str(values.get("profile") or "cross"),
            lifetime=None if seconds is None else timedelta(seconds=int(seconds)),
        )
    )


def note(authority: Authority, values: Values) -> dict[str, Any]:
    """kind, body: an entry about something that the CA did not do itself."""
    kind = str(values["kind"])
    if kind not in NOTES:
        raise CAError("usage", f'"{kind[:60]}" is no kind of note')
    with authority.act() as act:
        act.append(kind, [dict(values["body"])])
    return {"entries": authority.ledger.size}


ACTS: Mapping[str, Callable[[Authority, Values], dict[str, Any]]] = {
    "sign": sign,
    "approve": approve,
    "refuse": refuse,
    "revoke": revoke,
    "crl": make_crl,
    "note": note,
    "enrol": enrol,
    "rotation-plan": rotation_plan,
    "rotate": rotate,
    "retire": retire,
    "install": install,
    "cross-sign": cross_sign,
    "bind": bind,
    "unbind": unbind,
    "renew-now": renew_now,
    "pause-ocsp": pause_ocsp,
}


def perform(authority: Authority, act: str, values: Values) -> dict[str, Any]:
    """Raises CAError."""
    if act not in ACTS:
        raise CAError("usage", f'"{act}" is not something that a CA does')
    return ACTS[act](authority, values)
