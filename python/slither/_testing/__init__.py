"""Stand-ins for BEAM: for tests of handlers and for replays."""
