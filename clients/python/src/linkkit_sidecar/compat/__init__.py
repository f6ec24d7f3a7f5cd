"""The vendor's SDK as programs know it, with the sidecar beneath: `linkkit_sidecar.compat.linkkit.LinkKit`.

A program needs no import of this: ``python -m linkkit_sidecar.run app.py`` lets its ``from linkkit import linkkit`` mean this package.
"""

from ._configuration import Configuration, configuration

__all__ = ["Configuration", "configuration"]
