"""Names that a module has from another: their entries stand once, where they are made, and every address leads there."""

import importlib
import inspect

from superpos.answers import join


def names_of(module):
    """Routines and classes in a module's `__all__` that another module of superpos makes. → {name: that module}"""
    held = importlib.import_module(module)
    ones = {name: getattr(held, name) for name in getattr(held, "__all__", ())}
    made = {name: one.__module__ for name, one in ones.items() if isinstance(one, type) or inspect.isroutine(one)}
    return {name: home for name, home in made.items() if home != module and home.partition(".")[0] == "superpos"}


def told(module):
    """Lines of reST: anchors by the names' addresses in this module, and a sentence with links to where they stand."""
    names = names_of(module)
    if not names:
        return []
    anchors = "".join(f'<span id="{module}.{name}"></span>' for name in names)
    links = [
        f"{join([f':py:obj:`{name} <{home}.{name}>`' for name in names if names[name] == home])} (``{home}``)"
        for home in dict.fromkeys(names.values())
    ]
    return ["", ".. raw:: html", "", f"    {anchors}", "", f"Also to be had from here: {join(links)}."]


def _skip(app, what, name, obj, skip, options):
    module = app.env.temp_data.get("autodoc:module")
    return True if what == "module" and module and name in names_of(module) else None


def _lead(app, env):
    """Links of code to `superpos.measure` lead to where it stands."""
    domain = env.get_domain("py")
    for module in list(domain.modules):
        for name, home in names_of(module).items():
            entry = domain.objects.get(f"{home}.{name}")
            if entry:
                domain.objects.setdefault(f"{module}.{name}", entry._replace(aliased=True))
    return []


def setup(app):
    app.connect("autodoc-skip-member", _skip)
    app.connect("env-updated", _lead, priority=400)  # before sphinx_codeautolink looks for addresses
