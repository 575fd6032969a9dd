"""The types of values that msgpack has no type for: a module for each kind, and one table."""
