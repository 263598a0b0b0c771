"""Text from outside, in a form that a database takes."""


def storable(text: str) -> str:
    """Lone surrogates (file names that are not UTF-8) become escapes; all else stays."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
