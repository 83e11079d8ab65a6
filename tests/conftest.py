"""Shared fixtures: paths, the pristine Caffe tree, pycaffe, a small data set."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]
for folder in ("python_layers", "scripts"):
    sys.path.insert(0, str(REPOSITORY / folder))
os.environ.setdefault("GLOG_minloglevel", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
# How fast a machine draws cases says how busy it is, and nothing about us.
settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_addoption(parser):
    """Add an option to run nets on a GPU."""
    parser.addoption(
        "--gpu",
        action="store_true",
        help="the tests of loss layers run them on the first GPU",
    )


def pytest_configure(config):
    """Tell it to the processes that tests start, too."""
    if config.getoption("--gpu"):
        os.environ["RANDROP_TEST_GPU"] = "1"


def pytest_collection_modifyitems(items):
    """Refuse names that differ from process to process: pytest-xdist needs the same."""
    for item in items:
        if " at 0x" in item.nodeid:
            raise pytest.UsageError(f"{item.nodeid}: give the parameter an id")


@pytest.fixture(scope="session", autouse=True)
def list_above(tmp_path_factory):
    """Have the list of an earlier command above all output, as in a user's home."""
    from randrop.files import ownership

    ownership.record(tmp_path_factory.getbasetemp() / "earlier.json", "0" * 64)


@pytest.fixture(scope="session")
def caffe():
    """Pycaffe from the patched build; a missing build is a failure, not a skip."""
    from randrop.pycaffe.build import import_caffe

    return import_caffe()


@pytest.fixture(scope="session")
def caffe_source():
    """The pristine tree that builds start from; never write to it."""
    given = os.environ.get("RANDROP_TEST_CAFFE_SOURCE")
    if given:
        return Path(given).resolve()
    from caffe_tools import source
    from randrop.pycaffe.build import build_dir

    return source.fetch(build_dir() / "cache" / "caffe")


@pytest.fixture(scope="session")
def bvlc(tmp_path_factory):
    """BVLC's own tree, without Debian's patches; tests only read it."""
    import forks

    try:
        return forks.pristine(tmp_path_factory.mktemp("bvlc") / "caffe")
    except forks.NoSourceError as error:
        pytest.skip(f"Debian's source package of Caffe cannot be had: {error}")


@pytest.fixture
def tree(caffe_source, tmp_path):
    """The test's own pristine Caffe tree, without files that the patch never reads."""
    target = tmp_path / "caffe"
    leave = shutil.ignore_patterns("docs", "examples", "data", "models", "matlab")
    shutil.copytree(caffe_source, target, symlinks=True, ignore=leave)
    return target


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """Four small synthetic photographs, three for training and one for validation."""
    from randrop.data.phantom_set import write_phantom

    folder = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(folder, images=4, size=192, seed=3, workers=1)
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a disk of a given size in bytes and returns its folder."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = []

    def mount(size):
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk]
        if subprocess.run(command, check=False).returncode:
            pytest.skip("this sandbox does not mount")
        mounted.append(disk)
        return disk

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="session")
def official_idrid(tmp_path_factory):
    """IDRiD's part A as distributed, drawn small; do not write to it."""
    from official_idrid import write_official_idrid

    return write_official_idrid(tmp_path_factory.mktemp("IDRiD download"))


@pytest.fixture(scope="session")
def surface_run(caffe, phantom, tmp_path_factory):
    """A training with five snapshots, which tests only read."""
    import small_training

    run = tmp_path_factory.mktemp("surface") / "run"
    result = small_training.run(phantom, run, "--snapshot", 3, iterations=15)
    assert result.returncode == 0, result.stderr
    return run


@pytest.fixture(scope="session")
def surface_recording(surface_run, tmp_path_factory):
    """Its recording, which tests only read."""
    import recording_runs

    out = tmp_path_factory.mktemp("recorded") / "recording.h5"
    recording_runs.whole(surface_run, out)
    return out


@pytest.fixture(scope="session")
def protocol_data(phantom, tmp_path_factory):
    """Photographs as the small protocol says."""
    import small_protocol

    return small_protocol.prepare(phantom, tmp_path_factory.mktemp("protocol") / "data")


@pytest.fixture
def protocol_file(protocol_data, tmp_path):
    """The small protocol."""
    import small_protocol

    return small_protocol.write(protocol_data, tmp_path / "protocol.json")
