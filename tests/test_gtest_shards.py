"""A gtest program in several processes fails if one of them does."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY

PROGRAM = """\
#!/bin/sh
echo "[ RUN      ] A.B$GTEST_SHARD_INDEX of $GTEST_TOTAL_SHARDS, $1"
{act}
echo "[  PASSED  ] {passed} tests."
"""


@pytest.mark.parametrize(
    ("act", "passed", "status"),
    [
        ("true", 2, 0),
        ('if [ "$GTEST_SHARD_INDEX" = 1 ]; then echo "wrong: 7"; exit 3; fi', 2, 3),
        ('if [ "$GTEST_SHARD_INDEX" = 0 ]; then kill -9 $$; fi', 2, 137),
        # More lines than a pipe holds, in each of them.
        ("yes '[       OK ] A.B' | head -n 100000", 2, 0),
        ("true", 0, 1),
    ],
    ids=["pass", "fail", "killed", "talkative", "none"],
)
def test_the_status_is_that_of_the_first_that_failed(tmp_path, act, passed, status):
    program = tmp_path / "program"
    program.write_text(PROGRAM.format(act=act, passed=passed))
    program.chmod(0o755)
    command = [sys.executable, REPOSITORY / "tests/gtest_shards.py", program]
    done = subprocess.run(
        [*command, "--filter=-X*", "--processes", "3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    count = {0: 3, 3: 2, 137: 2, 1: 3}[status] * passed
    assert f"{count} tests passed in 3 process(es)" in done.stdout
    assert ("wrong: 7" in done.stdout) == (status == 3)
    assert "A.B" not in done.stdout
    if not passed:
        assert "has no test called -X*" in done.stderr
