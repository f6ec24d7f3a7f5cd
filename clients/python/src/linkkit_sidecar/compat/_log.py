"""The log of LinkKit, with the vendor's switch."""

from __future__ import annotations

import logging
from typing import Any

_logger = logging.getLogger("linkkit")


class Log:
    """The logger named ``linkkit``. What is wrong is always logged, the rest only when the program has asked for it, as in the vendor's."""

    def __init__(self) -> None:
        self.enabled = False

    def level(self, level: int) -> None:
        _logger.setLevel(level)

    def debug(self, text: str, *args: Any) -> None:
        if self.enabled:
            _logger.debug(text, *args)

    def info(self, text: str, *args: Any) -> None:
        if self.enabled:
            _logger.info(text, *args)

    def warning(self, text: str, *args: Any) -> None:
        _logger.warning(text, *args)

    def error(self, text: str, *args: Any) -> None:
        _logger.error(text, *args)

    def exception(self, text: str, *args: Any) -> None:
        _logger.exception(text, *args)
