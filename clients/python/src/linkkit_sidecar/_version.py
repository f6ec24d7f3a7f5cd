"""The one place that has the version: of this package, and of the command (the Makefile reads it)."""

__version__ = "0.1.0"
