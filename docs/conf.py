"""Sphinx's settings for the documentation; `scripts/docs` builds it, docs/README.md explains it."""

import hashlib
import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS / "_ext"), str(ROOT / "scripts")]
os.environ["PYTHONPATH"] = os.pathsep.join(  # of the notebooks' kernels: this checkout's package
    [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
)
sys.path.insert(0, str(ROOT))

from version import RELEASE  # noqa: E402

project = "purejaxvpg"
author = "The purejaxvpg maintainers"
copyright = author
release = version = RELEASE

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.viewcode",
              "docstrings", "links", "mathml"]  # fmt: skip
exclude_patterns = ["_build", "README.md"]

# Pages
myst_enable_extensions = ["amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist",
                          "dollarmath", "html_image"]  # fmt: skip
myst_heading_anchors = 3
myst_links_external_new_tab = False
html_math_renderer = "mathml"


def _checksum() -> str:
    """Of the package and of docs/_lib: notebooks are executed again where it changed."""
    sums = hashlib.sha256()
    for path in sorted([*(ROOT / "purejaxvpg").rglob("*.py"), *DOCS.glob("_lib/*.py")]):
        sums.update(path.read_bytes())
    return sums.hexdigest()[:12]


# Notebooks: pages that begin with `file_format: mystnb`, and *.ipynb
nb_execution_mode = "cache"
nb_execution_cache_path = str(DOCS / "_build" / "notebooks" / _checksum())
nb_execution_timeout = 120  # seconds a cell
nb_execution_show_tb = True  # a cell that fails is a warning, with its traceback
nb_merge_streams = True

# The reference
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False
autosummary_generate = False
viewcode_line_numbers = True

# The site asks the network for nothing.
html_theme = "furo"
html_title = "purejaxvpg"
html_static_path = ["_static"]
html_css_files, html_js_files = ["site.css"], ["site.js"]
html_favicon = "_static/favicon.svg"  # browsers report it where there is none
html_copy_source = False
html_show_sphinx = False
pygments_style, pygments_dark_style = "friendly", "github-dark"
