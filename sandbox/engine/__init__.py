"""Engines: finding, starting and asking the programs that run a model."""
