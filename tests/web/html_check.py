"""A strict little reader of HTML: what a page of ours must keep to, so that browsers need to guess nothing."""

import itertools
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"br", "hr", "img", "input", "link", "meta", "rect"}
#: May stand in a paragraph or a heading; anything else would end it.
PHRASING = {"a", "br", "code", "details", "img", "input", "label", "span", "strong", "summary", "time"}
ALLOWED_ATTRIBUTES = {
    "action", "alt", "aria-current", "aria-label", "aria-labelledby", "charset", "class", "colspan", "content",
    "data-label", "datetime", "download", "fill", "for", "height", "href", "id", "lang", "maxlength", "method", "name",
    "placeholder", "preserveaspectratio", "rel", "role", "scope", "selected", "src", "tabindex", "title", "type",
    "value", "viewbox", "width",
}  # fmt: skip


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    inside: tuple[str, ...] = ()


@dataclass
class Page(HTMLParser):
    elements: list[Element] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        line = self.getpos()[0]
        if len(set(names)) < len(names):
            self.faults.append(f"line {line}: {tag} has an attribute twice")
        for name in names:
            if name not in ALLOWED_ATTRIBUTES:
                self.faults.append(f"line {line}: {tag} has {name}")
        inside = tuple(each.tag for each in self._open)
        if tag not in PHRASING and inside and inside[-1] in ("p", "h1", "h2", "h3"):
            self.faults.append(f"line {line}: {tag} in {inside[-1]}")
        if tag == "a" and "a" in inside:
            self.faults.append(f"line {line}: a link in a link")
        element = Element(tag, {name: value or "" for name, value in attrs}, line, inside=inside)
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1].tag != tag:
            self.faults.append(f"line {self.getpos()[0]}: </{tag}> closes {self._open[-1:]}")
            return
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for each in self._open:
            each.text += data

    def all(self, *tags: str) -> list[Element]:
        return [each for each in self.elements if each.tag in tags]


def page_of(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    page.faults += [f"line {each.line}: {each.tag} is never closed" for each in page._open]
    return page


def faults(text: str) -> list[str]:
    """What is wrong with a page: markup first, then what a keyboard or a screen reader stumbles over."""
    page = page_of(text)
    found = list(page.faults)
    if not text.startswith("<!doctype html>"):
        found.append("no doctype")
    ids = [each.attributes["id"] for each in page.elements if "id" in each.attributes]
    found += [f"id {each} twice" for each in set(ids) if ids.count(each) > 1]
    for each in page.elements:
        for name in ("aria-labelledby", "for"):
            if name in each.attributes and each.attributes[name] not in ids:
                found.append(f"line {each.line}: {name} leads nowhere")
        href = each.attributes.get("href", "")
        if href.startswith("#") and href[1:] not in ids:
            found.append(f"line {each.line}: {href} leads nowhere")
        if href and not href.startswith(("/", "#")):
            found.append(f"line {each.line}: a link to elsewhere: {href}")
    levels = [int(each.tag[1]) for each in page.all("h1", "h2", "h3", "h4")]
    if levels[:1] != [1] or levels.count(1) != 1:
        found.append(f"headings begin with {levels[:1]}")
    found += [f"heading {b} after {a}" for a, b in itertools.pairwise(levels) if b > a + 1]
    found += [
        f"line {each.line}: an empty heading" for each in page.all("h1", "h2", "h3") if not each.text.strip()
    ]
    labelled = {each.attributes.get("for") for each in page.all("label")}
    for each in page.all("input", "select"):
        if "label" not in each.inside and each.attributes.get("id") not in labelled:
            found.append(f"line {each.line}: a field without a label")
    found += [
        f"line {each.line}: th without scope" for each in page.all("th") if "scope" not in each.attributes
    ]
    found += [f"line {each.line}: a link without words" for each in page.all("a") if not each.text.strip()]
    found += [
        f"line {each.line}: img without alt" for each in page.all("img") if "alt" not in each.attributes
    ]
    found += [
        f"line {each.line}: time without datetime"
        for each in page.all("time")
        if "datetime" not in each.attributes
    ]
    if len(page.all("caption")) != len(page.all("table")):
        found.append("a table without a caption")
    for tag in ("main", "header", "nav", "footer", "title"):
        if not page.all(tag):
            found.append(f"no {tag}")
    if [each.attributes.get("lang") for each in page.all("html")] != ["en"]:
        found.append("no language")
    found += [f"<{each.tag}>" for each in page.all("script", "style", "iframe", "object", "base")]
    first = next((each for each in page.all("a")), None)
    if first is None or first.attributes.get("href") != "#content":
        found.append("the first link does not skip to the content")
    return found
