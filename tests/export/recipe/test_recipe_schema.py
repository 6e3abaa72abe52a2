"""The JSON Schema of recipes, as editors read it."""

import json
import re
from pathlib import Path

import pytest
import yaml

from onepath.export.recipe.schema import recipe_schema

ROOT = Path(__file__).parents[3]
RECIPES = sorted([*ROOT.glob("export/*/recipe.yaml"), *Path(__file__).parents[1].glob("*_recipe/recipe.yaml")])
SCHEMA = recipe_schema()
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list}


def fits(value, schema):
    """Tell whether a value fits as much of JSON Schema as the recipes' schema uses."""
    if "$ref" in schema:
        return fits(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    for several, enough in (("anyOf", lambda count: count > 0), ("oneOf", lambda count: count == 1)):
        if several in schema and not enough(sum(fits(value, each) for each in schema[several])):
            return False
    if "not" in schema and fits(value, schema["not"]):
        return False
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return False
    parts = (_type_fits, _number_fits, _object_fits, _list_fits)
    return all(part(value, schema) for part in parts)


def _type_fits(value, schema):
    name = schema.get("type")
    if name in (None, "null"):
        return name is None or value is None
    return isinstance(value, TYPES[name]) and (name == "boolean") == isinstance(value, bool)


def _number_fits(value, schema):
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if not isinstance(value, int | float):
        return True
    low, high = schema.get("minimum", value), schema.get("maximum", value)
    return low <= value <= high and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])


def _object_fits(value, schema):
    if not isinstance(value, dict):
        return True
    if any(name not in value for name in schema.get("required", ())) or len(value) < schema.get("minProperties", 0):
        return False
    for name, each in value.items():
        patterns = [inner for pattern, inner in schema.get("patternProperties", {}).items() if re.search(pattern, name)]
        rest = schema.get("additionalProperties", True)
        found = schema.get("properties", {}).get(name, patterns[0] if patterns else rest)
        if found is False or (isinstance(found, dict) and not fits(each, found)):
            return False
    return True


def _list_fits(value, schema):
    if not isinstance(value, list):
        return True
    return len(value) >= schema.get("minItems", 0) and all(fits(each, schema.get("items", {})) for each in value)


def test_the_schema_in_the_documentation_is_the_one_of_this_code():
    assert json.loads((ROOT / "docs" / "recipe.schema.json").read_text(encoding="utf-8")) == SCHEMA


def test_every_field_is_described():
    parts = {"Recipe": SCHEMA, **SCHEMA["$defs"]}
    bare = [
        f"{part}.{name}"
        for part, schema in parts.items()
        for name, field in schema["properties"].items()
        if len(field.get("description", "")) < 8
    ]
    assert bare == []
    assert all(part["description"].endswith(".") for part in parts.values())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.parent.name)
def test_every_recipe_of_the_project_fits(path):
    assert fits(yaml.safe_load(path.read_text(encoding="utf-8")), SCHEMA)


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"task": "guessing"},
        {"seed": "many"},
        {"name": "No Name"},
        {"merges": {"mean": {"method": "linear"}}},
        {"merges": {"mean": {"method": "cross_modal", "models": {"left": 1}}}},
        {"merges": {"Mean": {"method": "linear", "models": {"left": 1}}}},
        {"parents": {"left": {"build": "models.classifier"}}},
        {"bundles": {"soup": {"model": "encoder"}}},
        {"bundles": {"soup": {"model": "merged", "head": "circle"}}},
        {"export": {"max_batch_size": 0}},
        {"tolerances": {"onnx": 0}},
        {"modalities": {}},
    ],
)
def test_a_recipe_that_the_reader_refuses_does_not_fit(change):
    soup = yaml.safe_load((Path(__file__).parents[1] / "soup_recipe" / "recipe.yaml").read_text())
    assert fits(soup, SCHEMA)
    assert not fits(soup | change, SCHEMA)
