"""Configuration of Sphinx: ``sphinx-build -n -W docs build/docs``. The build needs no network."""

import sys
from pathlib import Path

import cartoframes_lite

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "cartoframes_lite"
author = "the authors of cartoframes_lite"
release = version = cartoframes_lite.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc", "sphinx_copybutton"]
extensions += [
    "api_index",
    "error_tables",
    "gallery",
    "notebook_pages",
    "styling_figures",
    "type_tables",
]  # in docs/_ext
exclude_patterns = ["_ext", "_static", "notebooks/data"]

# Links to headings have the anchors that GitHub uses.
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# The committed outputs are shown; the tests run the notebooks and compare.
nb_execution_mode = "off"

# Docstrings have the types; signatures are shorter without them.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
add_module_names = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

copybutton_exclude = ".linenos, .gp, .go"  # prompts and output are not copied

html_theme = "furo"
html_title = f"cartoframes_lite {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
