"""Signatures as their authors wrote them: without what pydantic, numpy and dataclasses put in their place."""

import ast
import re

ARRAY = re.compile(
    r"(?:~?[\w.]*\bBuffer \| |~?[\w.]*_Buffer \| )?~?[\w.]*\b_SupportsArray\[.*?"
    r"\b_NestedSequence\[(?:(?:bool|int|float|complex|bytes|str)(?: \| )?)+\]"
)
ANNOTATED = re.compile(r"~?(?:typing\.)?\bAnnotated\[")
OBJECT = re.compile(r"(= ?)<(?:[^<>]|<[^<>]*>)+>")  # the repr of a factory or function that is a default
PATH = re.compile(r"~(?:\w+\.)*(\w+)")


def plain(text):
    """A signature or an annotation, without what only the interpreter needs to know."""
    text = OBJECT.sub(r"\1...", _without_metadata(ARRAY.sub("ArrayLike", text)))
    return text if _parses(text) else PATH.sub(r"\1", text)


def _parses(text):
    """Whether Sphinx can read it, and so write `~torch.Tensor` as a short name with a link."""
    try:
        ast.parse(f"def _{text}: ..." if text.startswith("(") else f"_: {text}")
    except SyntaxError:
        return False
    return True


def _without_metadata(text):
    """`Annotated[x, …]` as x, however deep it lies."""
    while found := ANNOTATED.search(text):
        comma = _end(text, found.end(), ",")
        end = _end(text, comma, "]")
        text = text[: found.start()] + text[found.end() : comma] + text[end + 1 :]
    return text


def _end(text, start, mark):
    """Where `mark` stands next, or the bracket around ends, outside of all brackets and quotes that open after `start`."""
    depth, quote = 0, ""
    for place in range(start, len(text)):
        one = text[place]
        if quote:
            quote = "" if one == quote else quote
        elif one in "'\"":
            quote = one
        elif not depth and one in (mark, "]"):
            return place
        else:
            depth += (one in "([{") - (one in ")]}")
    return len(text)


def _process(app, what, name, obj, options, signature, return_annotation):
    return signature and plain(signature), return_annotation and plain(return_annotation)


def setup(app):
    app.connect("autodoc-process-signature", _process)
