def app() -> None:
    raise SystemExit("not yet")
