"""How docstrings and signatures of the reference come out: strings in, strings out."""

import pytest

from tests.test_site import extension


def rest(text):
    return "\n".join(extension("docstrings").as_rest(text.split("\n")))


def plain(text):
    return extension("signatures").plain(text)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Of `x` and ``y (n, N)`` the sum.", "Of ``x`` and ``y (n, N)`` the sum."),
        ("The `code`s of\none `long\nname`.", "The ``code``\\ s of\none ``long name``."),
        ("w`x`, (`y`)", "w\\ ``x``, (``y``)"),
        ("samples *and* positions", "samples *and* positions"),
        ("F* / F, a*b*c, **power, x_i | y", "F\\* / F, a\\*b\\*c, \\*\\*power, x\\_i \\| y"),
        ("a stray ` and a \\ of no meaning", "a stray \\` and a \\\\ of no meaning"),
        ("NAME@2 is one, NAME@all are all.", "``NAME@2`` is one, ``NAME@all`` are all."),
        ('An address ("tcp://host:8786"), or "".', 'An address ("``tcp://host:8786``"), or "".'),
        ("A. Fisher was one.", "\\A. Fisher was one."),
        ("- 1 is less than 0.", "\\- 1 is less than 0."),
    ],
)
def test_prose_is_prose_but_for_its_code(text, made):
    assert rest(text) == made


def test_a_block_is_one_box_blank_lines_and_all():
    text = "In a few lines::\n\n    import superpos\n\n    x = 1\n        y_i = `z`\n\nThen go on."
    box = "::\n\n    import superpos\n\n    x = 1\n        y_i = z"
    assert rest(text) == f"In a few lines:\n\n{box}\n\nThen go on."
    assert rest("A formula\n  a = b\n  c = d\nends.") == "A formula\n\n::\n\n    a = b\n    c = d\n\nends."


def test_results_stand_in_the_box_of_their_example():
    text = "Spans.\n\n>>> spans([3, 1, 2]), `x`\n(\"it's\",   'so')\n\nAnd *more*."
    assert rest(text) == "Spans.\n\n::\n\n    >>> spans([3, 1, 2]), `x`\n    (\"it's\",   'so')\n\nAnd *more*."


def test_a_numbered_list_holds_its_items_together():
    text = "The rule says\nnothing rather than guess:\n1. `a` is\n   one thing.\n2. b_c\nAfter it."
    assert (
        rest(text) == "The rule says\nnothing rather than guess:\n\n1. ``a`` is\n   one thing.\n2. b\\_c\n\nAfter it."
    )
    ten = [f"{number}. item" for number in range(1, 11)]
    assert rest("\n".join([*ten, "    goes on"])) == "\n".join([*ten, "    goes on"])
    assert rest("It was so in\n2. a row") == "It was so in\n2. a row", "a list begins at one"


def test_two_columns_are_names_and_what_they_are():
    lines = [
        "Kinds:",
        "",
        "a_b          the first,",
        "             told at length",
        "longer.name  the `second`",
        "a, b and more than that   the third",
        "",
        "End.",
    ]
    made = "a\\_b\n    the first,\n    told at length\nlonger.name\n    the ``second``\na, b and more than that\n    the third"
    assert rest("\n".join(lines)) == f"Kinds:\n\n{made}\n\nEnd."


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("(n: ~typing.Annotated[int, FieldInfo(annotation=NoneType, metadata=[Ge(ge=1)])] = 40)", "(n: int = 40)"),
        ("(n: dict[str, Annotated[list[int], 'x, ]', Gt(0)] | None])", "(n: dict[str, list[int] | None])"),
        ("Annotated[Annotated[float, Ge(ge=0)] | None, Le(le=1)]", "float | None"),
        (
            "(x: ~numpy._typing._array_like._Buffer | ~numpy._typing._array_like._SupportsArray[~numpy.dtype[~typing.Any]] | "
            "~numpy._typing._nested_sequence._NestedSequence[~numpy._typing._array_like._SupportsArray[~numpy.dtype["
            "~typing.Any]]] | complex | bytes | str | ~numpy._typing._nested_sequence._NestedSequence[complex | bytes | str]"
            " | None = None, y: int = 1)",
            "(x: ArrayLike | None = None, y: int = 1)",
        ),
        ("(a: list[str] = <factory>, b: int = 2)", "(a: list[str] = ..., b: int = 2)"),
        ("(a=<function f.<lambda> at 0x7f>, *, c=1)", "(a=..., *, c=1)"),
        ("(each: ~collections.abc.Callable = <class 'map'>)", "(each: ~collections.abc.Callable = ...)"),
        ("(x: ~torch.Tensor, like: Of[...] = <)", "(x: Tensor, like: Of[...] = <)"),
    ],
)
def test_signatures_hold_no_internals(text, made):
    """A `~` stays where Sphinx reads it: it writes the short name, with a link."""
    assert plain(text) == made


def test_names_from_elsewhere_are_told_with_their_homes():
    elsewhere = extension("elsewhere")
    homes = elsewhere.names_of("superpos")
    assert homes == {
        "measure": "superpos.measurement",
        "measure_rows": "superpos.measurement",
        "top_rows": "superpos.top",
    }
    told = "\n".join(elsewhere.told("superpos"))
    assert '<span id="superpos.top_rows"></span>' in told
    assert told.endswith(
        "Also to be had from here: :py:obj:`measure <superpos.measurement.measure>` and "
        ":py:obj:`measure_rows <superpos.measurement.measure_rows>` (``superpos.measurement``) and "
        ":py:obj:`top_rows <superpos.top.top_rows>` (``superpos.top``)."
    )
    assert elsewhere.told("superpos.top") == []
