"""Text from outside, in a form that every database takes."""


def storable(text: str) -> str:
    """Lone surrogates (file names that are not UTF-8) and NUL, which PostgreSQL has no text with, become escapes; all
    else stays."""
    if "\0" in text:
        text = text.replace("\0", "\\x00")
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
