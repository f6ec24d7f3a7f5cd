"""The sandbox: the platform on your desk, for tests and development.

`Sandbox` starts one; `Console` talks to one that runs, such as that of ``linkkit-sidecar dev``.
"""

from ._console import Console
from ._sandbox import Sandbox
from .models import *  # noqa: F403
from .models import __all__ as _models

__all__ = ["Console", "Sandbox"]
__all__ += _models
