"""What a Python program that drives BEAM is made of; workers import nothing of it."""
