"""Debian's archives are read from apt's configuration, whatever its form."""

import pytest

from caffe_tools import apt_config

DEFAULT = apt_config._default_key()

APT = {
    "deb822": (
        "debian.sources",
        "# comment\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n"
        "Components: main\nSigned-By: /keys/a.gpg\n\nTypes: deb\nComponents: main\n"
        "URIs: http://mirror.example/debian-security\nSuites: bookworm-security\n",
        [("http://mirror.example/debian", " /keys/a.gpg")],
    ),
    "a key block": (
        "debian.sources",
        "Types: deb\nURIs: http://m.example/debian/\nSuites: trixie\n"
        "Components: main contrib\nSigned-By:\n -----BEGIN PGP-----\n .\n abc\n",
        [("http://m.example/debian/", "\n -----BEGIN PGP-----\n .\n abc")],
    ),
    "two mirrors in a stanza": (
        "debian.sources",
        "Types: deb\nURIs: http://m.example/other http://n.example/debian\n"
        "Suites: trixie\nComponents: main\nSigned-By: /keys/a.gpg\n",
        [("http://n.example/debian", " /keys/a.gpg")],
    ),
    "one line": (
        "debian.list",
        "deb http://mirror.example/debian bookworm main # the mirror\n",
        [("http://mirror.example/debian", DEFAULT)],
    ),
    "one line with options": (
        "x.list",
        "deb [arch=amd64 signed-by=/keys/b.gpg] https://m.example/debian sid main\n",
        [("https://m.example/debian", " /keys/b.gpg")],
    ),
    "a line commented out": ("x.list", "# deb https://m.example/debian sid main\n", []),
    "a snapshot": (
        "x.list",
        "deb http://s.example/archive/debian/20250520T000000Z bookworm main\n",
        [("http://s.example/archive/debian/20250520T000000Z", DEFAULT)],
    ),
    "Debian's own before others'": (
        "x.list",
        "deb [signed-by=/keys/vendor.gpg] https://vendor.example/debian sid main\n"
        "deb [signed-by=/k/debian-archive.gpg] http://d.example/debian sid main\n",
        [
            ("http://d.example/debian", " /k/debian-archive.gpg"),
            ("https://vendor.example/debian", " /keys/vendor.gpg"),
        ],
    ),
    "another vendor's component": (
        "vendor.list",
        "deb [signed-by=/keys/v.gpg] https://vendor.example/linux/debian sid stable\n",
        [],
    ),
    "disabled": (
        "debian.sources",
        "Enabled: no\nTypes: deb\nURIs: http://mirror.example/debian\n"
        "Components: main\n",
        [],
    ),
    "Ubuntu": (
        "ubuntu.sources",
        "Types: deb\nURIs: http://archive.example/ubuntu/\nSuites: noble\n"
        "Components: main universe\n",
        [],
    ),
    "another file type": (
        "debian.list.save",
        "deb http://m.example/debian x main",
        [],
    ),
}


def write_apt(folder, name, text):
    (folder / "sources.list.d").mkdir(parents=True)
    (folder / "sources.list.d" / name).write_text(text)
    return folder


@pytest.mark.parametrize("case", APT)
def test_debian_archives_are_read_from_apt(tmp_path, case):
    name, text, expected = APT[case]
    assert apt_config.debian_archives(write_apt(tmp_path, name, text)) == expected


def test_a_mirror_list_is_followed(tmp_path):
    """Cloud images name a file that lists the mirrors, not a mirror."""
    found = {}
    for name in ("debian", "debian-security"):
        mirrors = tmp_path / f"{name}.list"
        mirrors.write_text(f"https://m.example/{name}\tpriority:1\n")
        uri = f"mirror+file://{mirrors}"
        text = f"Types: deb\nURIs: {uri}\nSuites: bookworm\nComponents: main\n"
        folder = write_apt(tmp_path / name, "debian.sources", text)
        found[name] = apt_config.debian_archives(folder)
    uri = f"mirror+file://{tmp_path}/debian.list"
    assert found == {"debian": [(uri, DEFAULT)], "debian-security": []}
