"""The docs are true: what code, config and docs must both say is compared."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from certwatch.cli.app import app
from certwatch.plugins import registry
from certwatch.plugins.rule import explain
from certwatch.telemetry import metrics

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])


def text(name: str) -> str:
    return (DOCS / name).read_text()


def anchors(page: Path) -> set[str]:
    """Anchors as they are made of headings: lower case, spaces to hyphens, other punctuation gone."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name}: {target}"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), f"{page.name}: {target}"


def verbs() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "certwatch", "--help"], capture_output=True, text=True, check=True, timeout=20
    )
    return re.findall(r"^  ([a-z]+)  ", done.stdout.partition("Commands:")[2], re.MULTILINE)


def test_every_verb_is_documented() -> None:
    assert app is not None
    found = verbs()
    assert {
        "scan",
        "run",
        "collect",
        "list",
        "show",
        "findings",
        "rules",
        "export",
        "config",
        "doctor",
    } <= set(found)
    for verb in found:
        assert f"certwatch {verb}" in text("cli.md"), verb


RUNBOOKS = sorted((ROOT / "alerts/runbooks").glob("*.md"))


def commands(page: Path) -> list[str]:
    """Every line of certwatch in it, as somebody would type it."""
    written = page.read_text()
    found = [" ".join(each.split()) for each in re.findall(r"`(certwatch [^`]+)`", written)]
    for block in re.findall(r"```sh\n(.*?)```", written, re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        found += [each.strip() for each in lines if each.strip().startswith("certwatch ")]
    if page.suffix == ".yml":
        # In running text: from a verb on, up to the next punctuation.
        words = "|".join(app.list_commands(click.Context(app)))
        found += re.findall(rf"(certwatch (?:-c FILE )?(?:{words})\b[^.,;:()\n]*)", written)
    return found


def mistake(line: str) -> str | None:
    """Why the command line would not take it; what it would do is not tried."""
    words = shlex.split(line, comments=True)
    words = words[: next((at for at, word in enumerate(words) if word in ("|", "&&", ">", "<")), len(words))]
    command: click.Command = app
    context, rest = click.Context(command, info_name="certwatch"), words[1:]
    try:
        while isinstance(command, click.Group):
            _, rest, _ = command.make_parser(context).parse_args(list(rest))
            if not rest:
                return None
            name, found, rest = command.resolve_command(context, rest)
            assert found is not None
            command, context = found, click.Context(found, info_name=name, parent=context)
        options, _, _ = command.make_parser(context).parse_args(list(rest))
        for option in command.params:
            if isinstance(option.type, click.Choice) and option.name in options:
                option.type_cast_value(context, options[option.name])
    except click.ClickException as error:
        return error.format_message()
    return None


@pytest.mark.parametrize(
    "page", [*PAGES, *RUNBOOKS, ROOT / "alerts/alerts.yml"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_command_that_is_written_down_can_be_typed(page: Path) -> None:
    for line in commands(page):
        if line == "certwatch VERB" or "--where`" in line or line.endswith("--where"):
            continue
        wrong = mistake(line.replace("…", "x"))
        assert wrong is None, f"{line}: {wrong}"


@pytest.mark.parametrize("rule", registry.names("rules"))
def test_every_rule_has_its_page(rule: str) -> None:
    loaded = registry.load("rules", rule)
    assert loaded.id == rule
    page = (DOCS / "rules" / f"{rule}.md").read_text()
    assert page == explain(loaded), "run: python -m tools.rule_docs"


def test_the_page_of_what_is_found_knows_every_rule_and_nothing_that_is_not_there() -> None:
    page = text("rules/README.md")
    assert set(re.findall(r"\]\(([a-z0-9-]+)\.md\)", page)) == set(registry.names("rules"))
    alerts = {
        rule["alert"]
        for group in yaml.safe_load((ROOT / "alerts" / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    assert set(re.findall(r"`(Certwatch\w+)`", page)) <= alerts
    documented = text("metrics.md")
    for metric in re.findall(r"`(certwatch_\w+)`", page):
        assert f"`{metric}`" in documented, metric
    for line in page.splitlines():
        if line.startswith("| ") and not line.startswith("| what"):
            assert re.search(r"\.md\)|`", line.split("|")[2]), f"nothing finds it: {line}"


@pytest.mark.parametrize("group", ["collectors", "exporters"])
def test_every_kind_is_in_the_configuration_page_with_all_its_keys(group: registry.Group) -> None:
    page = text("configuration.md")
    for kind in registry.names(group):
        assert f"kind: {kind}" in page, kind
        for key in registry.load(group, kind).Config.model_fields:
            assert f"`{key}`" in page, f"{kind}: {key}"


@pytest.mark.parametrize(
    "metric",
    [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)],
    ids=lambda each: each._name,
)
def test_every_metric_of_our_own_work_is_documented(metric: MetricWrapperBase) -> None:
    name = metric._name + ("_total" if metric._type == "counter" else "")
    assert f"`{name}" in text("metrics.md"), name


def test_every_metric_of_certificates_is_documented_with_its_labels() -> None:
    from exporters.prometheus.families import FAMILIES

    rows = {
        row.split("|")[1].strip().strip("`"): set(re.findall(r"`(\w+)`", row.split("|")[2]))
        for row in text("metrics.md").splitlines()
        if row.startswith("| `certwatch_")
    }
    for family in FAMILIES:
        assert rows[family.name] == set(family.labels), family.name


def test_every_page_and_operation_is_documented_with_its_parameters() -> None:
    from certwatch.web.api.operations import OPERATIONS

    page = text("web.md")
    for path in ("/", "/certificates", "/certificates/{fingerprint}", "/certificates/{fingerprint}.pem"):
        assert f"| `{path}` |" in page, path
    for path in ("/locations/{uri}", "/findings", "/findings/{id}", "/rules", "/rules/{id}", "/collectors"):
        assert f"| `{path}` |" in page, path
    for operation in OPERATIONS:
        (row,) = [each for each in page.splitlines() if each.startswith(f"| `/api/v1{operation.path}` |")]
        for name in operation.asked.model_fields:
            assert f"`{name}`" in row, f"{operation.path}: {name}"


def test_every_key_of_the_ca_is_in_the_configuration_page() -> None:
    from certwatch.config.ca import AcmeKeys, CaKeys, NameKeys, ProfileKeys

    page = text("configuration.md")
    for model in (CaKeys, ProfileKeys, NameKeys):
        for key in model.model_fields:
            assert f"`{key}`" in page or f"`{key}_file`" in page, key
    page = text("acme.md")
    for key in AcmeKeys.model_fields:
        assert f"`{key}`" in page, key
