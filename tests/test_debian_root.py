"""Debian systems in folders hold a command in, and are removed without a neighbour."""

import os
import subprocess

import debian_root
import pytest

needs_roots = pytest.mark.skipif(
    debian_root.why_not() is not None, reason=str(debian_root.why_not())
)


def test_a_folder_that_was_not_made_here_is_not_removed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(ValueError, match="not made by"):
        debian_root.remove(tmp_path / "mine")
    assert (tmp_path / "mine" / "file").exists()


def test_a_link_to_a_root_is_not_removed(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / debian_root.MARK).touch()
    (tmp_path / "link").symlink_to("root")
    with pytest.raises(ValueError, match="not made by"):
        debian_root.remove(tmp_path / "link")
    assert (tmp_path / "root").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_root_in_which_something_is_mounted_is_not_removed(tmp_path):
    root, mine = tmp_path / "a root", tmp_path / "mine"
    (root / "home").mkdir(parents=True)
    (root / debian_root.MARK).touch()
    mine.mkdir()
    (mine / "file").touch()
    mount = ["mount", "--bind", str(mine), str(root / "home")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(RuntimeError, match="mounted"):
            debian_root.remove(root)
        assert (mine / "file").exists()
    finally:
        subprocess.run(["umount", str(root / "home")], check=True)
    debian_root.remove(root)
    assert not root.exists()
    assert (mine / "file").exists()


def test_an_existing_folder_is_not_made_into_a_root(tmp_path):
    with pytest.raises(FileExistsError):
        debian_root.make(tmp_path, "bookworm")


@pytest.mark.slow
@needs_roots
def test_a_command_sees_the_root_alone_and_leaves_no_mount(tmp_path):
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "file").write_text("given")
    root = debian_root.make(tmp_path / "root", "bookworm")
    binds = {tmp_path / "given": "/given"}
    try:
        said = debian_root.check(
            root,
            [
                *("sh", "-c"),
                "id -u; cat /given/file; touch /x || echo root refused;"
                "touch /given/x || echo given refused; touch ~/x && echo home",
            ],
            user=True,
            binds=binds,
        )
        assert said.splitlines() == [
            *("12345", "givenroot refused", "given refused", "home")
        ]
        assert debian_root.run(root, ["test", "-e", str(tmp_path)]).returncode
        # Without a network there is no route: the table has its heading alone.
        routes = debian_root.check(root, ["cat", "/proc/net/route"])
        assert len(routes.splitlines()) <= 1
        assert debian_root.mounts_below(root) == []
    finally:
        debian_root.remove(root)
    assert (tmp_path / "given" / "file").exists()
