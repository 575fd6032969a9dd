"""Bytes: values, extension types and frames. Knows nothing of processes."""
