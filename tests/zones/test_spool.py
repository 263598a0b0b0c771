"""What waits on a worker's disk."""

from pathlib import Path

import pytest

from certwatch.zones.spool import Message, Spool, SpoolError


def message(number: int, body: bytes = b"x") -> Message:
    return Message(kind="batch", shard=7, claim=1, number=number, body=body)


def drained(spool: Spool) -> list[int]:
    numbers = []
    while (kept := spool.first()) is not None:
        numbers.append(kept.message.number)
        spool.drop(kept.path)
    return numbers


def test_messages_come_back_in_order_also_in_another_life(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 1 << 20)
    for number in range(1, 12):
        spool.put(message(number))
    first = spool.first()
    assert first is not None
    spool.drop(first.path)
    spool.close()
    again = Spool(tmp_path / "spool", 1 << 20)
    again.put(message(12))
    assert [each.number for each in again.all()] == list(range(2, 13))
    assert drained(again) == list(range(2, 13))
    assert (len(again), again.bytes) == (0, 0)
    again.close()


def test_it_says_when_it_is_full_and_when_there_is_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    spool.put(message(1, b"x" * 600))
    before = spool.is_full
    spool.put(message(2, b"x" * 600))
    after = spool.is_full
    assert (before, after) == (False, True)
    assert drained(spool) == [1, 2]
    full = spool.is_full
    assert full is False
    spool.close()


def test_what_is_damaged_is_left_out_and_the_rest_goes_on(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1 << 20)
    for number in (1, 2, 3):
        spool.put(message(number))
    spool.close()
    (tmp_path / "000000000002.message").write_bytes(b"\xc1 not a message")
    (tmp_path / "000000000004.new").write_bytes(b"half")
    again = Spool(tmp_path, 1 << 20)
    assert not (tmp_path / "000000000004.new").exists()
    assert drained(again) == [1, 3]
    again.close()


def test_what_somebody_removes_makes_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    spool.put(message(1, b"x" * 2000))
    assert spool.is_full
    (tmp_path / "000000000001.message").unlink()
    assert drained(spool) == []
    assert (len(spool), spool.bytes) == (0, 0)
    spool.close()


def test_files_of_others_in_its_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "certwatch.yaml.new").write_text("somebody else's")
    Spool(tmp_path, 1000).close()
    assert (tmp_path / "certwatch.yaml.new").exists()


@pytest.mark.parametrize("where", ["flipped", "cut"])
def test_of_what_a_disk_altered_nothing_is_believed(tmp_path: Path, where: str) -> None:
    # One bit in a certificate makes another certificate, which nobody ever saw.
    spool = Spool(tmp_path / "spool", 1 << 20)
    spool.put(message(1, b"certificate"))
    spool.close()
    (path,) = (tmp_path / "spool").glob("*.message")
    whole = path.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged if where == "flipped" else whole[:at])
        again = Spool(tmp_path / "spool", 1 << 20)
        found = list(again.all()), again.first()
        again.close()
        assert found == ([], None), at


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="cannot be written"):
        Spool(tmp_path / "file" / "spool", 1)


def test_as_whom_it_was_enrolled_is_known_after_a_crash(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1)
    assert spool.noted() is None
    spool.note(12)
    assert spool.noted() == 12
    spool.forget()
    assert spool.noted() is None
    spool.close()
