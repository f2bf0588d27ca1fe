"""Shapes and types of every call are checked while tests run: jaxtyping reads the annotations, beartype checks them."""

from jaxtyping import install_import_hook

install_import_hook("superpos", "typecheck.checked").__enter__()
