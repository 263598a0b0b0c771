"""M5: how long until the world can see a revocation, measured by asking as a client does: the OCSP responder and the CRL
that the certificate names, by their URLs, until both say it."""

import asyncio
import time
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from certwatch.doors.fetch import Fetcher, FetchError, FetchPolicy
from certwatch.telemetry.logs import get_logger
from certwatch.telemetry.metrics import CA_REVOCATION_SECONDS, CA_REVOCATIONS_UNSEEN

log = get_logger(__name__)

#: Followed at once; of a thousand revocations in a minute these tell enough.
MOST_FOLLOWED = 50
#: After that it counts as never seen: far above the target of five minutes.
GIVE_UP_SECONDS = 1800.0
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 15.0
MAX_BYTES = 128 << 20


def places_of(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    """("ocsp" or "crl", URL) that it names."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        pass
    else:
        for each in access:
            if each.access_method == AuthorityInformationAccessOID.OCSP:
                yield "ocsp", str(each.access_location.value)
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return
    for point in points:
        for name in point.full_name or ():
            yield "crl", str(name.value)


class Propagation:
    """Owned by the event loop's thread."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, certificate: x509.Certificate, issuer: x509.Certificate) -> None:
        """From now on until everybody can see that it is revoked."""
        for via, url in places_of(certificate):
            if len(self._tasks) >= MOST_FOLLOWED:
                return
            task = asyncio.create_task(self._follow(via, url, certificate, issuer))
            self._tasks.add(task)
            CA_REVOCATIONS_UNSEEN.labels(via).inc()
            task.add_done_callback(lambda done, via=via: self._seen(done, via))  # type: ignore[misc]

    def _seen(self, task: asyncio.Task[None], via: str) -> None:
        self._tasks.discard(task)
        CA_REVOCATIONS_UNSEEN.labels(via).dec()

    async def _follow(
        self, via: str, url: str, certificate: x509.Certificate, issuer: x509.Certificate
    ) -> None:
        started = time.monotonic()
        pause = FIRST_PAUSE
        async with Fetcher(FetchPolicy.configured(max_bytes=MAX_BYTES)) as fetcher:
            while time.monotonic() - started < GIVE_UP_SECONDS:
                try:
                    if via == "ocsp":
                        seen = await _revoked_by_ocsp(fetcher, url, certificate, issuer)
                    else:
                        seen = await _revoked_by_crl(fetcher, url, certificate)
                except (FetchError, ValueError) as error:
                    seen = False
                    log.debug("ca_revocation_not_seen", via=via, url=url, error=str(error))
                if seen:
                    CA_REVOCATION_SECONDS.labels(via).observe(time.monotonic() - started)
                    return
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
        CA_REVOCATION_SECONDS.labels(via).observe(GIVE_UP_SECONDS)
        log.error("ca_revocation_never_seen", via=via, url=url, serial=f"{certificate.serial_number:x}")

    async def close(self) -> None:
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _revoked_by_ocsp(
    fetcher: Fetcher, url: str, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    # Without a nonce: what most clients and proxies get.
    request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA1()).build()  # noqa: S303 - names it
    answer = await fetcher.post(
        url,
        request.public_bytes(Encoding.DER),
        headers={"Content-Type": "application/ocsp-request"},
        max_bytes=64 << 10,
    )
    response = ocsp.load_der_ocsp_response(answer.body)
    return (
        response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
        and response.serial_number == certificate.serial_number
        and response.certificate_status is ocsp.OCSPCertStatus.REVOKED
    )


async def _revoked_by_crl(fetcher: Fetcher, url: str, certificate: x509.Certificate) -> bool:
    body = (await fetcher.get(url)).body

    def listed() -> bool:
        crl = x509.load_der_x509_crl(body)
        return crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None

    # A list of a million takes a while.
    return await asyncio.to_thread(listed)
