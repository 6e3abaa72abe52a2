from importlib.metadata import EntryPoint

import pytest

from onepath.contract import plugins
from onepath.contract.errors import UnknownPluginError


def installed(monkeypatch, *points):
    """Put entry points in the place of the installed distributions' own."""
    found = [EntryPoint(name, value, "onepath.modalities") for name, value in points]
    monkeypatch.setattr(plugins, "entry_points", lambda group: [p for p in found if p.group == group])


def test_the_built_in_modalities_are_found_by_entry_point():
    assert {"audio", "image", "tabular", "text"} <= set(plugins.known_plugins("onepath.modalities"))


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(UnknownPluginError, match="did you mean 'image'") as refused:
        plugins.load_plugin("onepath.modalities", "imgae")
    assert {"audio", "image"} <= set(refused.value.known)


def test_a_name_declared_twice_is_an_error(monkeypatch):
    installed(monkeypatch, ("smell", "one:Smell"), ("smell", "two:Smell"))
    with pytest.raises(UnknownPluginError, match="more than once"):
        plugins.load_plugin("onepath.modalities", "smell")


def test_one_plugin_seen_twice_on_the_path_is_loaded(monkeypatch):
    installed(monkeypatch, ("smell", "fractions:Fraction"), ("smell", "fractions:Fraction"))
    assert plugins.load_plugin("onepath.modalities", "smell").__name__ == "Fraction"
