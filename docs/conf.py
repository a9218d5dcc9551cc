"""Sphinx's settings for the documentation site; `make site` builds it."""

from __future__ import annotations

import sys
from pathlib import Path

import qsgd_lab

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "qsgd-lab"
author = copyright = "The qsgd-lab contributors"  # noqa: A001 (Sphinx's name)
version = release = qsgd_lab.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
    "docstrings",
    "mathml",
]
exclude_patterns = ["scripts", "methods/*", "_ext", "*.py"]  # methods/: parts of methods.md
html_theme = "furo"
html_title = "qsgd-lab"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
smartquotes = False  # options keep their two hyphens
default_role = "code"  # single backticks in docstrings mean code
nitpicky = False

numpydoc_show_class_members = False  # the members are on the page already
numpydoc_class_members_toctree = False
autodoc_typehints = "none"  # numpydoc's text has the types
autodoc_member_order = "bysource"
html_math_renderer = "mathml"
myst_heading_anchors = 4

copybutton_exclude = ".linenos, .gp, .go"
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "tutorials",
    "filename_pattern": r"/\d_",
    "ignore_pattern": r"pooled_perceptron|__init__",  # a plug-in of docs/comparing.md, not a tutorial
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 10**6,  # times differ from build to build
    "write_computation_times": False,
    "show_signature": False,
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
}
