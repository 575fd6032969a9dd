"""Makes wheels for tests that have no network: ``python make_wheels.py FOLDER``.

One of a package of our own, and one of the msgpack that is installed here.
"""

import sys
import zipfile
from importlib import metadata
from pathlib import Path


def own(folder: Path, version: str) -> None:
    name = f"slither_test_package-{version}"
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("slither_test_package.py", f"VERSION = {version!r}\n")
        info = f"Metadata-Version: 2.1\nName: slither-test-package\nVersion: {version}\n"
        wheel.writestr(f"{name}.dist-info/METADATA", info)
        tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{name}.dist-info/WHEEL", tags)
        wheel.writestr(f"{name}.dist-info/RECORD", "")


def installed(folder: Path, name: str) -> None:
    distribution = metadata.distribution(name)
    text = distribution.read_text("WHEEL") or ""
    tags = [line.split(": ")[1] for line in text.splitlines() if line.startswith("Tag: ")]
    path = folder / f"{name}-{distribution.version}-{tags[0]}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file in distribution.files or []:
            if file.suffix != ".pyc" and file.name not in ("INSTALLER", "REQUESTED"):
                wheel.write(file.locate(), str(file))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    own(target, "1.0")
    own(target, "2.0")
    installed(target, "msgpack")
