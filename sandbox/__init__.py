"""The sandbox: open-weight models on your own machine, with proof instead of promises."""

__version__ = "0.1.0"
