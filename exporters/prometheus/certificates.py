"""Certificates by small numbers, for as long as a location shows them, and how many different ones a group has."""

from array import array
from collections import Counter
from datetime import timedelta

from certwatch.model.certificate import Certificate, Fingerprint
from exporters.prometheus.fingerprints import Fingerprints

#: As the expiry rule has it.
PAGE_LEAD = timedelta(hours=48)
#: An end of validity that could not be read: earlier than every date there is.
_UNREADABLE = -(2**63)


class Certificates:
    """Some 75 bytes each. Groups are numbers of the caller's."""

    __slots__ = ("_at_home", "_different", "_elsewhere", "_ends", "_fingerprints", "_home", "_late", "_uses")

    def __init__(self) -> None:
        #: Gives the numbers. 0 is nobody's, so that it can stand for "none".
        self._fingerprints = Fingerprints()
        #: By number, as all that follows.
        self._uses = array("I", [0])
        self._ends = array("q", [_UNREADABLE])
        self._late = array("d", [0.0])
        #: Nearly every certificate is in one group alone: the first that showed it, and how often that does.
        self._home = array("I", [0])
        self._at_home = array("I", [0])
        #: By number and group, what other groups have of it.
        self._elsewhere: Counter[tuple[int, int]] = Counter()
        self._different: Counter[int] = Counter()

    def take(self, certificate: Certificate, group: int) -> tuple[int, bool]:
        """Its number, and whether nobody had it."""
        fingerprint = certificate.fingerprint_sha256
        number = self._fingerprints.find(fingerprint)
        is_new = not number
        if is_new:
            number = self._add(certificate)
        self._uses[number] += 1
        if not self._at_home[number] and (number, group) not in self._elsewhere:
            self._home[number] = group
        if self._home[number] == group:
            self._at_home[number] += 1
            first = self._at_home[number] == 1
        else:
            self._elsewhere[number, group] += 1
            first = self._elsewhere[number, group] == 1
        self._different[group] += first
        return number, is_new

    def _add(self, certificate: Certificate) -> int:
        number = self._fingerprints.add(certificate.fingerprint_sha256)
        if number == len(self._uses):
            for column in (self._uses, self._ends, self._home, self._at_home):
                column.append(0)
            self._late.append(0.0)
        ends = certificate.not_after
        self._ends[number] = _UNREADABLE if ends is None else int(ends.timestamp() // 1)
        self._late[number] = _late_from(certificate)
        return number

    def release(self, number: int, group: int) -> Fingerprint | None:
        """One use of it less. Its fingerprint if that was the last: the number is another's soon."""
        if self._at_home[number] and self._home[number] == group:
            self._at_home[number] -= 1
            last = not self._at_home[number]
        else:
            self._elsewhere[number, group] -= 1
            last = not self._elsewhere[number, group]
            if last:
                del self._elsewhere[number, group]
        self._different[group] -= last
        self._uses[number] -= 1
        if self._uses[number]:
            return None
        return self._fingerprints.remove(number)

    def different(self, group: int) -> int:
        return self._different[group]

    def ends(self, number: int) -> int | None:
        """Seconds since 1970. None: unreadable."""
        ends = self._ends[number]
        return None if ends == _UNREADABLE else ends

    def late_from(self, number: int) -> float:
        """From when on a renewal of it is late, seconds since 1970."""
        return self._late[number]


def _late_from(leaf: Certificate) -> float:
    """When somebody would be paged for it: what comes later was not renewed by itself."""
    if leaf.not_after is None:
        return 0.0
    return (leaf.not_after - min(PAGE_LEAD, (leaf.lifetime or PAGE_LEAD) / 12)).timestamp()
