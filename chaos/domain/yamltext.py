"""YAML as people read it: order kept, expressions as blocks."""

from __future__ import annotations

from typing import Any

import yaml

_WIDTH_MAX = 4096  # never fold: a folded PromQL comment would swallow what follows it


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- PyYAML's signature
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def dump(document: Any) -> str:
    """Return the document as YAML text, the same for the same document."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=_WIDTH_MAX, allow_unicode=True)
