"""`python -m certwatch.pki.lint_worker`: a certificate in base64 a line in, its lints as JSON a line out; of a CRL or an OCSP
answer (`crl:`, `ocsp:` before it) the codes.

A process of its own, of the lowest priority, so that linting never keeps anything else waiting; what hostile
certificates can do to a linter they do here.
"""

import base64
import os
import resource
import sys

import msgspec

#: Above it, the linter would be the attack: it fails, and the certificate counts as one that it cannot lint.
MAX_MEMORY = 1 << 30


def main() -> None:
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    from certwatch.pki.lint import lint, lint_crl, lint_ocsp, linter

    sys.stdout.write(linter() + "\n")
    sys.stdout.flush()
    for line in sys.stdin.buffer:
        try:
            kind, _, body = line.rpartition(b":")
            der = base64.b64decode(body)
            said = lint_crl(der) if kind == b"crl" else lint_ocsp(der) if kind == b"ocsp" else lint(der)
            answer = msgspec.json.encode(said)
        except Exception as error:
            answer = msgspec.json.encode({"error": f"{type(error).__name__}: {error}"[:200]})
        sys.stdout.buffer.write(answer + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
