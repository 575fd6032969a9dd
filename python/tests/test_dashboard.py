"""The page of a Beam: where it is, and how long."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import slither
from slither._driver import dashboards

PATIENCE = 60.0
PIPE = """
from slither import Pipe

def shout(row):
    return row["n"].upper()

loud = Pipe("loud").python("shout", shout)
"""


def got(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        found: str = answer.read().decode()
        return found


def port(beam: slither.Beam) -> int:
    assert beam.dashboard is not None
    return int(beam.dashboard.rstrip("/").rpartition(":")[2])


def test_two_beams_have_a_page_each_for_as_long_as_they_are_there(
    escript: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with slither.Beam(1, dashboard=True) as one:
        with slither.Beam(1, dashboard=True) as other:
            assert one.dashboard != other.dashboard
            told = capsys.readouterr().err
            for beam in (one, other):
                assert f"dashboard: {beam.dashboard}\n" in told
                assert "<!doctype html>" in got(f"{beam.dashboard}")
                assert isinstance(json.loads(got(f"{beam.dashboard}snapshot")), dict)
            gone = f"{other.dashboard}"
        with pytest.raises(urllib.error.URLError, match="refused"):
            got(gone)
        one.wait_ready()
        stack = json.loads(got(f"{one.dashboard}stack?pool=default&worker=0"))
        assert stack["os_pid"] != os.getpid()
        assert stack["worker"] == 0


def test_a_beam_has_none_unless_it_is_asked_for(escript: Path) -> None:
    with slither.Beam(1) as beam:
        assert beam.dashboard is None


def test_a_port_that_is_taken_is_an_error_and_costs_the_other_nothing(escript: Path) -> None:
    with slither.Beam(1, dashboard=0) as beam:
        with pytest.raises(slither.BeamError, match=f"port {port(beam)} is taken"):
            slither.Beam(1, dashboard=port(beam))
        with pytest.raises(slither.BeamError, match="is taken"):
            slither.Beam(1, dashboard={"port": port(beam)})
        assert got(f"{beam.dashboard}health") == "ok\n"


def test_elsewhere_than_on_loopback_it_takes_a_token(escript: Path) -> None:
    with slither.Beam(1, dashboard={"ip": "0.0.0.0", "port": 0}) as beam:
        bare, _, token = f"{beam.dashboard}".partition("?token=")
        assert len(token) == 32
        with pytest.raises(urllib.error.HTTPError, match="401"):
            got(f"{bare}snapshot")
        ask = urllib.request.Request(
            f"{bare}snapshot", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(ask, timeout=PATIENCE) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ("yes", TypeError, "dashboard takes True, a port or a dict of options, not 'yes'"),
        (-1, ValueError, "dashboard is a whole number from 0 to 65,535, not -1"),
        ({"prot": 1}, TypeError, "unknown option 'prot'. Did you mean 'port'?"),
        ({"ip": "localhost"}, ValueError, "dashboard: ip is an IP address, such as"),
        ({"port": True}, ValueError, "dashboard: port is a whole number"),
        ({"hosts": "one"}, ValueError, "dashboard: hosts is a list of str"),
    ],
)
def test_options_are_checked_before_anything_starts(
    given: object, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words.replace("?", r"\?")):
        dashboards.dashboard(given)


def test_a_token_that_is_refused_stands_in_no_traceback() -> None:
    with pytest.raises(ValueError, match="token is a str of 16") as raised:
        dashboards.dashboard({"token": "hush hush"})
    assert "hush" not in str(raised.value)


def test_it_is_told_in_the_log_where_that_shows_it(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    dashboards.tell("http://one/")
    assert capsys.readouterr().err == "dashboard: http://one/\n"
    with caplog.at_level(logging.INFO, logger="slither"):
        dashboards.tell("http://two/")
    assert capsys.readouterr().err == ""
    assert "dashboard: http://two/" in caplog.messages


@pytest.mark.parametrize("flags", [["--dashboard"], ["--dashboard-port", "0"]])
def test_a_run_of_the_command_has_one_while_it_runs(
    escript: Path, tmp_path: Path, flags: list[str]
) -> None:
    (tmp_path / "pipes.py").write_text(PIPE)
    command = [sys.executable, "-m", "slither", "run", *flags, "pipes.py", "--workers", "1"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stderr is not None
        told = run.stderr.readline()
        assert told.startswith("dashboard: http://127.0.0.1:")
        url = told.split()[1]
        assert "<!doctype html>" in got(url)
        out, _err = run.communicate('{"n": "a"}\n', timeout=PATIENCE)
        assert run.returncode == 0
        assert '"A"' in out
    with pytest.raises(urllib.error.URLError, match="refused"):
        got(url)


def test_a_wrong_port_of_the_command_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "slither", "run", "pipes.py", "--dashboard-port", "many"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "a port from 0 to 65535, not 'many'" in done.stderr
