"""Writes docs/rules/ (but its README.md) from the rules' own text. Run it after a rule was changed: python -m tools.rule_docs"""

from pathlib import Path

from certwatch.plugins import registry
from certwatch.plugins.rule import explain

FOLDER = Path(__file__).parent.parent / "docs" / "rules"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for page in FOLDER.glob("*.md"):
        if page.name != "README.md":
            page.unlink()
    for name in registry.names("rules"):
        (FOLDER / f"{name}.md").write_text(explain(registry.load("rules", name)))


if __name__ == "__main__":
    main()
