"""Paths that a config lets a deployer write to."""

import re


def pattern(text: str) -> re.Pattern[str]:
    """ "**" over folders, "*" and "?" within one."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", text)
    said = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(said.get(each, re.escape(each)) for each in parts))
