"""The command ``slither``: run and check pipes from a shell, and look after the installation."""
