"""Make the font of the site's formulas: the letters and signs that they use, out of STIX Math, under another name.

    pip install fonttools brotli
    python tools/math_font.py STIXMath-Regular.otf    # Debian: the package fonts-stix

Browsers draw MathML with the table MATH of a font. Many phones and Linux machines have no font with one: bars, exponents and
primes then stand in wrong places. The licence of STIX (SIL OFL 1.1) asks that what is changed has another name.
"""

import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

OUT = Path(__file__).parents[1] / "book" / "_ext" / "superpos_book" / "static" / "math.woff2"
RANGES = [
    (0x20, 0x7E), (0x391, 0x3A9), (0x3B1, 0x3C9), (0x1D400, 0x1D467), (0x1D6A8, 0x1D71B),  # letters, also bold and italic
]  # fmt: skip
SIGNS = "¬¯°±·×÷‖′″‴…ℎℓℕℝ←→↔↦⇒∀∂∃∅∇∈∉−∏∑∓∘√∝∞∥∧∨∩∪∫∼≈≠≡≤≥≪≫⊂⊆⊤⊥⋅⋯⌈⌉⌊⌋⏞⏟⟨⟩ˆ˜"
NAME = "Superpos Math"


def main():
    font = TTFont(sys.argv[1])
    options = subset.Options(
        flavor="woff2", layout_features=["*"], name_IDs=["*"], notdef_outline=True, drop_tables=["FFTM"]
    )
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[code for first, last in RANGES for code in range(first, last + 1)], text=SIGNS)
    subsetter.subset(font)
    for number, words in ((1, NAME), (3, NAME), (4, NAME), (6, NAME.replace(" ", ""))):
        for entry in [one for one in font["name"].names if one.nameID == number]:
            entry.string = words
    if "CFF " in font:
        font["CFF "].cff.fontNames = [NAME.replace(" ", "")]
    subset.save_font(font, str(OUT), options)
    print(f"{OUT.name}: {OUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
