raise RuntimeError("this module has no model to load")
