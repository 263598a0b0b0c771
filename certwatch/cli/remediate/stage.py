"""What the verbs of `certwatch remediate` work with."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certwatch.cli.failure import FAILED, USAGE, Failed
from certwatch.cli.options import current_clock
from certwatch.cli.text import shown

if TYPE_CHECKING:
    from certwatch.config.settings import Config
    from certwatch.inventory.store import Reader
    from certwatch.model.certificate import Certificate
    from certwatch.model.mark import Mark
    from certwatch.remediation.book import Book
    from certwatch.remediation.policy import Policy
    from certwatch.remediation.world import World


@dataclass(frozen=True, slots=True)
class Stage:
    config: "Config"
    policies: "tuple[Policy, ...]"
    book: "Book"
    ask_ca: Any

    def mark(self, new: "Mark") -> "Mark":
        from certwatch.inventory.open import open_inventory

        return open_inventory(self.config.inventory, create=False).mark(new)

    def world(self, look_again: Callable[[Iterable[str]], None]) -> "World":
        """For carrying plans out here. `look_again`: what is done about collectors whose places have changed."""
        from certwatch.remediation.opening import world_of

        return world_of(
            self.config,
            current_clock(),
            book=self.book,
            policies=self.policies,
            reading=self.reading,
            mark=self.mark,
            ask_ca=self.ask_ca,
            look_again=look_again,
        )

    @contextmanager
    def reading(self) -> "Iterator[Reader]":
        from certwatch.inventory.open import open_inventory

        reader = open_inventory(self.config.inventory, create=False).reader()
        try:
            yield reader
        finally:
            reader.close()


@contextmanager
def stage_of(config: Path | None) -> Iterator[Stage]:
    from certwatch.cli.ca.opening import Opening
    from certwatch.config.load import load
    from certwatch.remediation.book import Book
    from certwatch.remediation.opening import folder_of, made_policies
    from certwatch.telemetry import logs

    checked = load(config, env=os.environ)
    logs.set_up(level="warning", style=checked.log.style)
    if checked.remediation is None or not checked.remediation.policies:
        raise Failed(
            USAGE, "remediation: the config has no policy, so nothing may be done. See docs/remediation.md"
        )
    opening = Opening(config=config, directory=None, pkcs11=None, key_file=None)

    context = click.get_current_context()

    def ask(act: str, values: Mapping[str, Any]) -> dict[str, Any]:
        # Called from threads, which have no context of their own.
        with context.scope(cleanup=False):
            return opening.ask(act, dict(values))

    ask_ca = ask if checked.ca is not None else None
    book = Book(folder_of(checked, os.environ))
    try:
        policies = made_policies(checked, os.environ, current_clock(), ask_ca)
        yield Stage(checked, policies, book, ask_ca)
    finally:
        book.close()


def certificate_of(reader: "Reader", prefix: str) -> "Certificate":
    digits = prefix.replace(":", "").lower()
    if len(digits) < 8 or any(each not in "0123456789abcdef" for each in digits):
        raise Failed(USAGE, f"{shown(prefix)}: not a fingerprint (8 hex digits or more)")
    found = reader.certificate(digits, current_clock()())
    if not found:
        raise Failed(FAILED, f"{shown(prefix)}: no such certificate. Search with: certwatch list")
    if len(found) > 1:
        raise Failed(USAGE, f"{shown(prefix)}: {len(found)} certificates begin so. Give more digits")
    return found[0].certificate


def told(stage: Stage, event: str, fields: dict[str, Any]) -> None:
    from certwatch.remediation.opening import note

    note(stage.ask_ca, event, fields)
