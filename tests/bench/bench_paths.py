"""Path validation with its verdict, against OpenSSL bare: leaf, intermediate, root, EC P-256."""

import time
from collections.abc import Callable

from OpenSSL import crypto

from certwatch.pki.verdict import Question, judge
from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.x509.der import read
from tests.bench.result import Result
from tests.support.serving import INTERMEDIATE, ROOT, TRUST

LEAVES = 4000


def run() -> list[Result]:
    leaves = [make_certificate(issuer=INTERMEDIATE, serial_number=1000 + n).der for n in range(LEAVES)]
    read_leaves = [read(each) for each in leaves]
    above = [read(INTERMEDIATE.der)]
    trust = TRUST["corp"]
    question = Question()

    def ours() -> None:
        for leaf in read_leaves:
            if not judge(leaf, above, trust, EPOCH, question).accepted:
                raise AssertionError("refused")

    store = crypto.X509Store()
    store.add_cert(crypto.X509.from_cryptography(ROOT.certificate))
    store.set_time(EPOCH)
    intermediate = crypto.X509.from_cryptography(INTERMEDIATE.certificate)

    def bare() -> None:
        for leaf in leaves:
            loaded = crypto.load_certificate(crypto.FILETYPE_ASN1, leaf)
            crypto.X509StoreContext(store, loaded, [intermediate]).verify_certificate()

    # In turns, the best of three: the machine is shared.
    pairs = [(_rate(ours), _rate(bare)) for _ in range(3)]
    rate, peer = max(each[0] for each in pairs), max(each[1] for each in pairs)
    how = "EC P-256, issuers known, one core; OpenSSL by pyOpenSSL, leaf parsed, beside it"
    return [
        Result(what="paths judged", measured=rate, unit="/s", target=6000, at_least=True, how=how),
        Result(what="paths judged by OpenSSL bare", measured=peer, unit="/s", how=how),
        Result(
            what="ours ÷ OpenSSL bare",
            measured=rate / peer,
            unit="times",
            target=0.73,
            at_least=True,
            how=how,
        ),
    ]


def _rate(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return LEAVES / (time.process_time() - started)
