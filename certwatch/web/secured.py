"""TLS of a port whose certificate is renewed while it serves."""

import asyncio
import ssl
from typing import Any

from certwatch.web.server import HTTPProtocol
from certwatch.web.tls_context import is_allowed
from certwatch.web.web_config import TLSServer


class Secured:
    """How a port speaks TLS, now. Owned by the event loop; the next handshake sees what was put here."""

    def __init__(self, server: TLSServer, context: ssl.SSLContext) -> None:
        self.put(server, context)
        #: What the port is opened with.
        self.first = context
        context.sni_callback = self._choose

    def put(self, server: TLSServer, context: ssl.SSLContext) -> None:
        """A renewed certificate, or another client CA. Other parameters take another port."""
        self.server = server
        self._now = context

    def _choose(self, connection: Any, name: str | None, context: ssl.SSLContext) -> None:
        # Called by OpenSSL in every handshake, also where no name is asked for.
        if connection.context is not self._now:
            connection.context = self._now

    def protocol(self) -> type[HTTPProtocol]:
        """Hangs up on clients whose certificate has none of the wanted names."""
        secured = self

        class Checked(HTTPProtocol):
            _refused = False

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                wanted = secured.server.client_sans
                if wanted and not is_allowed(transport.get_extra_info("peercert"), wanted):
                    self._refused = True
                    transport.close()
                    return
                super().connection_made(transport)

            def data_received(self, data: bytes) -> None:
                if not self._refused:
                    super().data_received(data)

            def connection_lost(self, error: Exception | None) -> None:
                if not self._refused:
                    super().connection_lost(error)

        return Checked
