"""What runs inside a worker process, from hello to exit."""
