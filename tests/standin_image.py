"""An image that stands in for tensorflow/serving, made without a registry: a tar of this machine's Python and shells.

It has the real image's entry point, paths and variables; its tensorflow_model_server is servers/standin_server.py.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import docker

# A tag for each process: test runs at the same time on one engine do not see each other's containers.
REPOSITORY, TAG = "tfserve-tui-test/serving", f"standin-{os.getpid()}"
IMAGE = f"{REPOSITORY}:{TAG}"
SERVER = Path(__file__).parent / "servers" / "standin_server.py"
ENTRY_POINT = """#!/bin/sh
tensorflow_model_server --port=8500 --rest_api_port=8501 \\
    --model_name=${MODEL_NAME} --model_base_path=${MODEL_BASE_PATH}/${MODEL_NAME} "$@"
"""
CHANGES = [
    "ENV PATH=/usr/bin:/bin MODEL_BASE_PATH=/models MODEL_NAME=model",
    'ENTRYPOINT ["/usr/bin/tf_serving_entrypoint.sh"]',
]
LIST_MODULES = """
import encodings.idna, runpy, sys
try:
    runpy.run_path(sys.argv[1], run_name="listed")
finally:
    sys.stdout.write("\\n".join(m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)))
"""


def build(client: docker.DockerClient) -> str:
    """Import the image and return its tag."""
    client.api.import_image_from_data(archive(), repository=REPOSITORY, tag=TAG, changes=CHANGES)
    return IMAGE


def remove(client: docker.DockerClient) -> None:
    """Remove the image, and every container made of it."""
    for container in client.containers.list(all=True, filters={"ancestor": IMAGE}):
        container.remove(force=True)
    client.images.remove(IMAGE, force=True)


def archive() -> bytes:
    """The image's root as a tar."""
    python = Path(sys.executable).resolve()
    shell = Path(shutil.which("sh") or "/bin/sh").resolve()
    bash = Path(shutil.which("bash") or "/bin/bash").resolve()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as root:
        modules = _modules(python)
        compiled = [module for module in modules if module.suffix == ".so"]
        for path in {python, shell}.union(*map(_libraries, (python, shell, bash, *compiled))):
            _add(root, path.resolve(), str(path))
        _add(root, bash, "/bin/bash")
        for module in modules:
            _add(root, module, str(module))
        if shell != Path("/bin/sh"):
            _add(root, shell, "/bin/sh")
        # The shebang names Python by its own path, so that it finds its library beside it.
        server = f"#!{python} -IS\n{SERVER.read_text(encoding='utf-8')}"
        _add_text(root, "/usr/bin/tensorflow_model_server", server)
        _add_text(root, "/usr/bin/tf_serving_entrypoint.sh", ENTRY_POINT)
    return packed.getvalue()


def _modules(python: Path) -> list[Path]:
    """The files of the standard library that the server loads."""
    listing = [python, "-IS", "-c", LIST_MODULES, SERVER]
    files = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\n")
    stdlib = Path(sysconfig.get_path("stdlib"))
    loaded = {Path(file) for file in files if file.startswith(str(stdlib))}
    return sorted(loaded | {stdlib / "os.py"} | set((stdlib / "encodings").glob("*.py")))


def _libraries(program: Path) -> set[Path]:
    """What the loader maps for ``program``, as ldd tells."""
    words = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.split()
    return {Path(word) for word in words if word.startswith("/")}


def _add(archive: tarfile.TarFile, source: Path, name: str) -> None:
    entry = archive.gettarinfo(source, name.lstrip("/"))
    entry.mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
    with source.open("rb") as content:
        archive.addfile(entry, content)


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name.lstrip("/"))
    entry.mode, content = 0o755, text.encode()
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
