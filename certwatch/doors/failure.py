"""The one error of the doors: a look that came to nothing, with its kind."""

from certwatch.model.observation import ErrorKind, LookError


class LookFailed(Exception):
    """One place could not be looked at. `message`: where, what, what to do; one line, printable."""

    def __init__(self, kind: ErrorKind, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.message = message
        #: The world's answer, which another try would not change: there is no such name.
        self.final = final

    @property
    def error(self) -> LookError:
        return LookError(kind=self.kind, message=self.message)


def shown(data: bytes, limit: int = 80) -> str:
    """Bytes from outside, quoted for a message: printable ASCII, cut at `limit`. Nothing else gets through."""
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data[:limit])
    return f'"{text}"' + ("…" if len(data) > limit else "")
