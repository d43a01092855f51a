"""YAML as plain data, in which no key may be given twice. Read by parameter files and by mysteries."""

from __future__ import annotations

from collections.abc import Hashable

import yaml


class StrictLoader(yaml.CSafeLoader):
    """YAML that refuses a key given twice, which plain YAML would silently overwrite."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # a list or mapping as a key: refused below
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
