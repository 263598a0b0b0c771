import pytest

from tests.web.html_check import faults

GOOD = (
    '<!doctype html><html lang="en"><head><title>x</title></head><body><a class="skip" href="#content">Skip</a>'
    '<header><nav>n</nav></header><main id="content"><h1>One</h1>{}</main><footer>f</footer></body></html>'
)


def test_a_good_page_has_no_faults() -> None:
    assert faults(GOOD.format("")) == []


@pytest.mark.parametrize(
    "bad",
    [
        "<p><div></div></p>",
        "<b>",
        "</i>",
        "<h3>Three</h3>",
        '<span style="color:red"></span>',
        '<span onclick="x()"></span>',
        "<script>x</script>",
        "<input>",
        "<table><caption>c</caption><tr><th>x</th></tr></table>",
        "<table></table>",
        '<a href="https://example.com/">x</a>',
        '<a href="/x"></a>',
        "<h2></h2>",
        '<p id="content">x</p>',
        "<time>x</time>",
    ],
)
def test_what_is_wrong_is_found(bad: str) -> None:
    assert faults(GOOD.format(bad))
