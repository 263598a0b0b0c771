"""What CT logs say: leaves, extensions, tiles, checkpoints, timestamps; and that the prefilter passes over nothing that reading finds."""

from contextlib import suppress

from certwatch.ct.heads import BadSignature, parse_log_checkpoint, parse_sth
from certwatch.ct.leaves import make_leaf, parse_extensions, parse_extra_data, parse_leaf, split_tile
from certwatch.ct.log_list import parse_log_list
from certwatch.ct.malformed import Malformed
from certwatch.ct.names import match
from certwatch.ct.notes import parse_checkpoint, parse_note
from certwatch.ct.prefilter import Prefilter
from certwatch.ct.scts import list_in_ocsp, parse_sct_list, read_embedded
from certwatch.ct.watch import WatchList, parse_item
from tests.ct.odd_names import WATCHED, tricks

WATCH = WatchList.make(map(parse_item, WATCHED))
PREFILTER = Prefilter(WATCH)
LOG_ID = bytes(32)


def seeds() -> list[bytes]:
    certificates = [data for _, data in tricks()]
    leaf = make_leaf(certificates[0], 7)
    checkpoint = "log.example/1\n5\n" + "A" * 43 + "=\n\n\N{EM DASH} log.example/1 " + "A" * 108 + "\n"
    return [*certificates, leaf, leaf[2:] + b"\0\0", checkpoint.encode(), b'{"operators": []}', b"\0\0"]


def TestOneInput(data: bytes) -> None:
    for parse in (
        parse_leaf,
        parse_extensions,
        split_tile,
        parse_sth,
        parse_log_list,
        parse_sct_list,
        read_embedded,
        list_in_ocsp,
        lambda each: parse_checkpoint(parse_note(each)),
        lambda each: parse_log_checkpoint(each, "log.example/1", LOG_ID),
        lambda each: parse_extra_data(each, is_precertificate=True),
        lambda each: parse_extra_data(each, is_precertificate=False),
    ):
        with suppress(Malformed, BadSignature):
            parse(data)
    if len(data) < 1 << 16 and match(data, WATCH):
        assert not PREFILTER.is_plain(make_leaf(data, 7))
