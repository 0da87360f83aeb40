"""Prints, as JSON, what the official Python SDK says of models, parameters and tools."""

import importlib.metadata
import json
import typing
from typing import get_args, get_type_hints

from anthropic._data.deprecated_models import DEPRECATED_MODELS
from anthropic.types import message_count_tokens_params as plain_count
from anthropic.types import message_create_params as plain
from anthropic.types.beta import message_count_tokens_params as beta_count
from anthropic.types.beta import message_create_params as beta
from anthropic.types.beta.beta_tool_union_param import BetaToolUnionParam
from anthropic.types.model_param import ModelParam
from anthropic.types.tool_union_param import ToolUnionParam


def literals(hint):
    """All literal values inside a type."""
    found = []
    for part in get_args(hint):
        found += [part] if isinstance(part, str) else literals(part)
    return found


def tool(entry):
    hints = get_type_hints(entry)
    name = literals(hints["name"]) if "name" in hints else []
    return literals(hints.get("type")), {"name": name[0] if name else None, "settings": sorted(set(hints) - {"type", "name"})}


def tools(union):
    found = {}
    for entry in get_args(union):
        types, facts = tool(entry)
        found.update({kind: facts for kind in types if kind != "custom"})
    return found


general, all_tools = tools(ToolUnionParam), tools(BetaToolUnionParam)
for kind, facts in all_tools.items():
    facts["beta"] = kind not in general

print(
    json.dumps(
        {
            "version": importlib.metadata.version("anthropic"),
            "models": sorted(literals(ModelParam)),
            "deprecated": DEPRECATED_MODELS,
            "create": sorted(get_type_hints(plain.MessageCreateParamsNonStreaming)),
            "create_beta": sorted(get_type_hints(beta.MessageCreateParamsNonStreaming)),
            "count": sorted(get_type_hints(plain_count.MessageCountTokensParams)),
            "count_beta": sorted(get_type_hints(beta_count.MessageCountTokensParams)),
            "tools": all_tools,
        },
        indent=1,
        sort_keys=True,
    )
)
