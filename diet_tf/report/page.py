"""Pages that load nothing: values go escaped into templates, and a policy lets no script run but the page's own."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import jinja2

import diet_tf
from diet_tf.printable import printable
from diet_tf.report.axes import WIDTH

_SCRIPT = "script.js.j2"


def render(name: str, **values: Any) -> str:
  """The page of a template of `diet_tf/report/templates`; control characters in values are written out.

  Args:
    name: file name of the template, which extends `page.html.j2`.
    **values: values that the template shows, by the names that it gives them.
  """
  environment = jinja2.Environment(loader=jinja2.PackageLoader("diet_tf.report"), autoescape=True, trim_blocks=True,
                                   lstrip_blocks=True, undefined=jinja2.StrictUndefined, finalize=_shown)
  script = environment.get_template(_SCRIPT).render()
  environment.globals.update(width=f"{WIDTH:g}", script=jinja2.utils.markupsafe.Markup(script),
                             script_digest=_digest(script), version=diet_tf.__version__)
  return environment.get_template(name).render(values)


def _digest(script: str) -> str:
  """The digest by which a content security policy knows an inline script."""
  return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _shown(value: Any) -> Any:
  # What a macro has made is markup by now, a subclass of str, with its values escaped.
  return printable(value) if type(value) is str else value
