"""Vedette: each camera frame goes to a hosted API or to the on-device model, by what the link can do right now."""

__version__ = "0.1.0"
