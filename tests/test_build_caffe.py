"""The build tool: which steps it repeats, and how it reports failures."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY

from caffe_tools import building, cuda, toolchain
from caffe_tools.errors import ToolError
from randrop.pycaffe.build import build_dir

pytestmark = pytest.mark.builds

SCRIPT = REPOSITORY / "scripts" / "build_caffe.py"


def test_requirements_are_the_pins_of_pyproject():
    pins = toolchain.requirements()
    assert any(pin.startswith("numpy==") for pin in pins)
    assert any(pin.startswith("pytest==") for pin in pins)
    assert not any("nvidia" in pin for pin in pins)
    assert all("==" in pin for pin in pins)


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ([], ["75", "80", "90", "100", "120"]),
        (["86"], ["86"]),
        (["75", "90"], ["75", "90"]),
        (["89"], ["86"]),
        (["130"], ["121"]),
    ],
    ids=["none here", "one", "two", "not known itself", "newer than the compiler"],
)
def test_architectures_are_those_of_the_gpus_or_one_a_generation(gpus, expected):
    known = ["75", "80", "86", "90", "100", "103", "120", "121"]
    assert cuda.choose_architectures(known, gpus) == expected


def test_a_gpu_too_old_for_the_compiler_is_named():
    with pytest.raises(ToolError, match=r"supports architecture 75 and newer.* has 61"):
        cuda.choose_architectures(["75", "80"], ["61"])


def test_jobs_fit_the_processors():
    assert 1 <= toolchain.default_jobs() <= os.cpu_count()


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="no dpkg here")
def test_missing_packages_are_listed_as_a_command():
    needed = ("dpkg", "randrop-no-such-package")
    with pytest.raises(ToolError, match="Debian packages are missing") as error:
        toolchain.install_packages(needed, False, print)
    command = "apt-get install -y --no-install-recommends randrop-no-such-package"
    assert command in str(error.value)


def run(*arguments, **variables):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def build(*arguments):
    """Rebuild the existing build, with CUDA if it has CUDA."""
    cache = (build_dir() / "caffe/build/CMakeCache.txt").read_text()
    gpu = re.search(r"^CPU_ONLY:BOOL=OFF$", cache, re.MULTILINE)
    architectures = re.search(r"^CUDA_ARCH_BIN:\w+=(.*)$", cache, re.MULTILINE)
    flags = ["--gpu", "--cuda-arch", architectures[1]] if gpu else []
    return run("--no-install", "--no-tests", *flags, *arguments)


def test_a_second_run_does_nothing_and_is_fast(caffe):
    build()
    start = time.monotonic()
    result = build()
    assert result.returncode == 0, result.stderr
    assert "Caffe is built" in result.stdout
    assert "Building" not in result.stdout
    assert time.monotonic() - start < 5


def test_a_program_that_was_deleted_is_made_again(caffe):
    build()
    program = build_dir() / "caffe" / "build" / "tools" / "caffe"
    program.unlink()
    result = build()
    assert result.returncode == 0, result.stderr
    assert program.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--in-place"], "--in-place needs --caffe-root"),
        (["--jobs", "0"], "--jobs is 0: give at least 1"),
        (["--cuda-arch", "90"], "--cuda-arch needs --gpu"),
        (["--fetch-nvcc"], "--fetch-nvcc needs --gpu"),
        (
            ["--caffe-root", "x", "--source-package", "y"],
            "exclude each other: give one of them",
        ),
        (["--caffe-root", "x", "--in-place", "--clean"], "delete x/build yourself"),
        (["--caffe-root", "/nowhere"], "/nowhere is not a folder"),
        (
            ["--source-package", "/nowhere.dsc"],
            "--source-package /nowhere.dsc: the file does not exist",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be_are_refused_first(tmp_path, arguments, words):
    result = run(*arguments, RANDROP_BUILD=str(tmp_path / "build"))
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert not (tmp_path / "build").exists()


def test_a_folder_that_is_no_caffe_tree(tmp_path):
    result = run("--caffe-root", tmp_path, RANDROP_BUILD=str(tmp_path / "build"))
    assert result.returncode == 2
    assert "is not a Caffe tree" in result.stderr
    assert not (tmp_path / "build").exists()


def test_a_build_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "build"
    result = run("--no-install", RANDROP_BUILD=str(folder))
    assert result.returncode == 2
    assert f"{folder} is in {tmp_path / 'file'}, which is a file" in result.stderr


def test_a_cuda_home_without_a_compiler_is_named(tmp_path):
    folder = tmp_path / "build"
    result = run("--gpu", CUDA_HOME=str(tmp_path), RANDROP_BUILD=str(folder))
    assert result.returncode == 2
    assert f"CUDA_HOME is {tmp_path}, but " in result.stderr
    assert not folder.exists()


def test_gpu_without_a_compiler_says_how_to_get_it(tmp_path):
    path = os.defpath
    if shutil.which("nvcc", path=path) or Path("/usr/local/cuda/bin/nvcc").exists():
        pytest.skip("nvcc is where it is always looked for")
    result = run(
        "--gpu", PATH=path, CUDA_HOME="", RANDROP_BUILD=str(tmp_path / "build")
    )
    assert result.returncode == 2
    assert "--gpu needs nvcc" in result.stderr
    assert "with --fetch-nvcc" in result.stderr
    assert not (tmp_path / "build").exists()


@pytest.mark.skipif(
    cuda.find_nvcc(build_dir() / "cuda") is None, reason="no nvcc on this machine"
)
def test_an_architecture_that_nvcc_does_not_know_is_named(tmp_path):
    result = run("--gpu", "--cuda-arch", "90 7", RANDROP_BUILD=str(tmp_path / "build"))
    assert result.returncode == 2
    assert re.search(
        r"--cuda-arch 7: choose from what this nvcc supports, \d+", result.stderr
    )
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("program", "words"),
    [("/nowhere/python3", "the program does not exist"), ("false", "Python 3.10")],
)
def test_an_interpreter_that_cannot_serve_is_named(tmp_path, program, words):
    with pytest.raises(ToolError, match=f"--python {program}: .*{words}"):
        toolchain.make_venv(tmp_path / "venv", program, print)
    assert not (tmp_path / "venv").exists()


def test_another_interpreter_than_the_venvs_is_refused(caffe):
    venv = build_dir() / "venv"
    ask = "import sys; print(sys.version_info >= (3, 10) and sys._base_executable)"

    def base(python):
        command = [str(python), "-c", ask]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        path = Path(said.stdout.strip() or "False")
        return path.resolve() if path.is_absolute() else None

    own = base(venv / "bin" / "python")
    named = [shutil.which(f"python3.{minor}") for minor in range(10, 20)]
    paths = ["/usr/bin/python3", sys.executable, *filter(None, named)]
    others = [str(path) for path in paths if base(path) not in (None, own)]
    if not others:
        pytest.skip("no second Python 3.10 or newer on this machine")
    with pytest.raises(ToolError, match=r"venv uses .*: delete that folder"):
        toolchain.make_venv(venv, others[0], print)


@pytest.fixture
def project(tmp_path):
    """A folder that CMake can configure, in place of a tree."""
    (tmp_path / "src").mkdir()
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.5)\nproject(small NONE)\n"
        'file(GLOB sources src/*.cpp)\nmessage(STATUS "sources: ${sources}")\n'
        'if(BROKEN)\n  message(FATAL_ERROR "no such luck")\nendif()\n'
    )
    return tmp_path


def test_cmake_runs_again_for_new_sources_and_other_flags(project):
    log = project / "log"

    def configured(*flags):
        log.unlink(missing_ok=True)
        building.configure(project, Path(sys.executable), flags, log)
        return log.exists()

    assert configured()
    assert not configured()
    (project / "src" / "new.cpp").write_text("")
    assert configured()
    assert "new.cpp" in log.read_text()
    assert configured("-DCPU_ONLY=ON")
    assert not configured("-DCPU_ONLY=ON")


def test_a_failed_configuration_is_shown_and_not_taken_for_done(project):
    log = project / "log"
    building.configure(project, Path(sys.executable), [], log)
    with pytest.raises(ToolError, match="CMake cannot configure") as error:
        building.configure(project, Path(sys.executable), ["-DBROKEN=ON"], log)
    assert "no such luck" in str(error.value)
    assert str(log) in str(error.value)
    # The earlier configuration is gone from CMake's cache, so CMake runs again.
    log.unlink()
    building.configure(project, Path(sys.executable), ["-DBROKEN=OFF"], log)
    assert log.exists()


def test_a_failed_build_is_not_taken_for_the_one_before(tree, tmp_path):
    stamp = tree / "build" / "randrop-built"
    stamp.parent.mkdir()
    stamp.write_text("{}")
    flags = ["-DCPU_ONLY=ON", "-DCMAKE_CXX_COMPILER=/nowhere/c++"]
    with pytest.raises(ToolError, match=r"/nowhere/c\+\+"):
        building.build(
            tree, Path(sys.executable), flags, ["caffe"], 1, tmp_path / "logs"
        )
    assert not stamp.exists()


def test_a_build_error_shows_its_first_lines_and_the_log(tmp_path):
    tree = tmp_path / "caffe"
    (tree / "build").mkdir(parents=True)
    (tree / "build" / "Makefile").write_text(
        "all:\n\t@echo 'x.cpp:3:1: error: no member named y'; exit 1\n"
    )
    log = tmp_path / "make.log"
    with pytest.raises(ToolError, match=r"error: no member named y") as error:
        building.make(tree, ["all"], 1, log)
    assert str(log) in str(error.value)


def test_progress_is_every_tenth_line_where_there_is_no_terminal(tmp_path, capsys):
    tree = tmp_path / "caffe"
    (tree / "build").mkdir(parents=True)
    lines = "".join(
        f"\t@echo '[{percent:3}%] Building CXX object {percent}'\n"
        for percent in range(0, 101, 2)
    )
    (tree / "build" / "Makefile").write_text("all:\n" + lines)
    building.make(tree, ["all"], 1, tmp_path / "log")
    shown = [int(p) for p in re.findall(r"(\d+) %", capsys.readouterr().out)]
    assert shown == list(range(0, 101, 10))


def test_a_pycaffe_that_cannot_be_imported_is_an_error(tmp_path):
    (tmp_path / "python" / "caffe").mkdir(parents=True)
    (tmp_path / "python" / "caffe" / "__init__.py").write_text("import _no_caffe")
    with pytest.raises(
        ToolError, match=r"cannot import pycaffe .*'_no_caffe'"
    ) as error:
        building.check_registered(tmp_path, Path(sys.executable))
    assert "Traceback" not in str(error.value)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_layer_types_that_a_library_lacks_are_named():
    assert run("--unpatched", "--no-tests", "--no-install").returncode == 0
    tree = build_dir() / "caffe-unpatched"
    with pytest.raises(ToolError, match=r"libcaffe\.so does not know .*RandomDrop"):
        building.check_registered(tree, build_dir() / "venv" / "bin" / "python")


@pytest.mark.slow
def test_a_changed_layer_is_all_that_is_compiled_again(caffe):
    build()
    layer = build_dir() / "caffe/src/caffe/layers/pixel_loss_layer.cpp"
    log = build_dir() / "logs" / "caffe" / "make.log"
    os.utime(layer)
    assert build().returncode == 0
    compiled = [line for line in log.read_text().splitlines() if "Building" in line]
    assert len(compiled) == 1
    assert "pixel_loss_layer.cpp" in compiled[0]
