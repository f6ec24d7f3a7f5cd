"""A client of linkkit-sidecar, which keeps devices of Alibaba Cloud IoT Platform online and carries their messages.

`SidecarClient` blocks; `linkkit_sidecar.aio.SidecarClient` is for asyncio. `Sidecar` and `Sandbox` start what they need.
"""

from ._binary import BinaryNotFoundError
from ._process import StartError
from ._version import __version__
from .client import CallHandler, Consumer, EventStream, MessageStream, Publisher, SidecarClient
from .errors import *  # noqa: F403
from .errors import __all__ as _errors
from .events import *  # noqa: F403
from .events import __all__ as _events
from .models import *  # noqa: F403
from .models import __all__ as _models
from .sandbox import Sandbox
from .sidecar import Sidecar

__all__ = ["CallHandler", "Consumer", "EventStream", "MessageStream", "Publisher", "SidecarClient"]
__all__ += ["BinaryNotFoundError", "Sandbox", "Sidecar", "StartError", "__version__"]
__all__ += _errors + _events + _models
