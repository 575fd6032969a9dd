import slither_test_no_such_dependency  # noqa: F401
