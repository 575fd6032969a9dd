"""joblib's jobs in the workers of a Beam: what :mod:`slither.joblib` registers."""
