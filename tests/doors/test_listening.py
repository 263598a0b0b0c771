"""This host's listening ports."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from certwatch.doors.listening import listening_ports

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(local: str, state: str) -> str:
    return (
        f"   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 1 1 0 100 0 0 10 0\n"
    )


def test_a_socket_that_listens_here_is_found() -> None:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.2", 0))
        listener.listen()
        assert ("127.0.0.2", listener.getsockname()[1]) in listening_ports()


def test_only_what_listens_counts_and_all_addresses_mean_loopback(tmp_path: Path) -> None:
    listens, connected = row("00000000:01BB", "0A"), row("0100007F:C001", "01")
    (tmp_path / "tcp").write_text(HEAD + listens + connected + row("0100A8C0:0016", "0A"))
    (tmp_path / "tcp6").write_text(
        HEAD
        + row("00000000000000000000000001000000:0050", "0A")
        + row("0000000000000000FFFF00000100007F:0051", "0A")
    )
    assert listening_ports(tmp_path) == [
        ("127.0.0.1", 81),
        ("127.0.0.1", 443),
        ("192.168.0.1", 22),
        ("::1", 80),
    ]


def test_a_host_without_such_a_list_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="tcp"):
        listening_ports(tmp_path)
