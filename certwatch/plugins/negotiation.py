"""What a client says that it takes (RFC 9110, 12.5), for our pages and exporters' routes alike."""


def weights(header: str) -> dict[str, float]:
    """Of an Accept or Accept-Encoding header: each offer in lower case with its weight, the highest if it stands
    twice. An offer whose weight is nonsense is passed over."""
    found: dict[str, float] = {}
    for offer in header.split(","):
        kind, *parameters = (part.strip().lower() for part in offer.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            found[kind] = max(found.get(kind, 0.0), float(weight))
        except ValueError:
            continue
    return found


def takes_gzip(accept_encoding: str) -> bool:
    """By name, or as one of all that is not named ("*"); a weight of 0 refuses it."""
    found = weights(accept_encoding)
    return found.get("gzip", found.get("x-gzip", found.get("*", 0.0))) > 0
