"""Pipes as data: expressions, options, policies and drawings of documents."""
