"""A page of the site in a browser, and how many charts a chapter holds: what the tests of the site share."""

import nbformat

from book.run import NOTEBOOKS

WIDE, NARROW = (1440, 900), (390, 844)
DRAWN = "[...document.querySelectorAll('.superpos-chart')].every(c => c.dataset.drawn === document.documentElement.dataset.theme)"
STILL = "document.getAnimations().every(one => one.playState !== 'running')"  # colours turn by and by


class Visit:
    """A page with all that it asked for and complained about; its charts are drawn."""

    def __init__(self, browser, url, size=WIDE, **options):
        self.page = browser.new_page(viewport=dict(zip(("width", "height"), size, strict=True)), **options)
        self.requests, self.complaints = [], []
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.complaints.append(str(e)))
        self.page.goto(url)
        if options.get("java_script_enabled", True):
            self.wait()

    def wait(self):
        """Until every chart is drawn in the theme of the page."""
        self.page.wait_for_function(DRAWN, timeout=60_000)
        self.page.wait_for_function(STILL, timeout=60_000)

    def turn(self, theme):
        """Give the page another theme."""
        self.page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        self.wait()

    def resize(self, size):
        """Give the window another size, for which charts are drawn when a page is loaded."""
        self.page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
        self.page.reload()
        self.wait()


def charts_in(name):
    """How many charts the outputs of a chapter hold."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    return sum("application/vnd.vegalite.v6+json" in o.get("data", {}) for o in outputs)
