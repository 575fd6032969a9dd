"""Annotations honoured: data becomes what they say that a function takes and gives."""
