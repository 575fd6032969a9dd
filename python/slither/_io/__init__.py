"""File descriptors, and who reads from them."""
