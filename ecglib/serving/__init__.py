"""From weights to use: what lies between a recording and a probability, without torch."""

from ecglib.serving.model import Card, Classified, Model, load

__all__ = ["Card", "Classified", "Model", "load"]
