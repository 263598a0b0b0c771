"""An ACME server (RFC 8555, 8737, 8738, 9773) before the embedded CA, so that clients fetch and renew by themselves.

jws.py         an envelope from the network: whose key signed it, for which URL, and what it says
problem.py     what is answered when something cannot be done
accounts.py    who asks: keys, contacts, external bindings
orders.py      what is asked: orders, their authorizations, and in which state they are
challenges.py  what a client must show, and whether it was shown
validate.py    looking whether it is shown, through guarded doors
finalize.py    from a CSR to a certificate, through the CA's own policy and ledger
renewal.py     when a certificate should be renewed (ARI)
gate.py        who gets in: envelopes believed or not, nonces, and how often
server.py      the HTTP face of all that
"""

from certwatch.ca.failure import CAError

try:
    import jwt as _jwt  # noqa: F401
except ModuleNotFoundError as error:
    raise CAError("usage", 'ACME needs PyJWT. Install it with: pip install "certwatch[ca]"') from error
