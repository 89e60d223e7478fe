"""The site: ``make site`` builds it into build/site."""

project = "tANDem"
author = "the tANDem contributors"
extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns: list[str] = []
html_theme = "furo"
html_title = "tANDem"
myst_heading_anchors = 3
numpydoc_show_class_members = False  # autodoc shows them
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings say shapes, too
default_role = "code"  # names between single backquotes
suppress_warnings = ["misc.highlighting_failure"]  # blocks show trees and answers, too
