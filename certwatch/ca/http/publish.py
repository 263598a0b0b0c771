"""CRLs and certificates of issuers, as relying parties fetch them (RFC 5280, 4.2.1.13 and 4.2.2.1)."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from certwatch.ca.http.reply import not_found, published
from certwatch.ca.http.site import CASite
from certwatch.ca.published import PublishedCRL

#: Proxies and clients keep a CRL no longer, so that a revocation is seen within minutes.
LONGEST = timedelta(minutes=2)
#: The certificate of an issuer does not change.
DAY = timedelta(days=1)


def routes(site: CASite) -> Sequence[Route]:
    async def crl(request: Request) -> Response:
        return given(request, site.published.crls)

    async def delta(request: Request) -> Response:
        return given(request, site.published.deltas)

    def given(request: Request, crls: Mapping[tuple[int, int], PublishedCRL]) -> Response:
        found = crls.get((request.path_params["issuer"], request.path_params["partition"]))
        if found is None:
            return not_found()
        return published(
            request,
            found.der,
            media_type="application/pkix-crl",
            etag=found.etag,
            modified=found.this_update,
            until=found.next_update,
            now=site.clock(),
            longest=LONGEST,
        )

    async def issuer(request: Request) -> Response:
        found = site.published.issuers.get(request.path_params["issuer"])
        if found is None:
            return not_found()
        return published(
            request,
            found.der,
            media_type="application/pkix-cert",
            etag=found.etag,
            modified=found.begin,
            until=found.end,
            now=site.clock(),
            longest=DAY,
        )

    return [
        Route("/crl/{issuer:int}/{partition:int}.crl", crl, methods=["GET"]),
        Route("/crl/{issuer:int}/{partition:int}-delta.crl", delta, methods=["GET"]),
        Route("/issuer/{issuer:int}.cer", issuer, methods=["GET"]),
    ]
