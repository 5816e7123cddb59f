"""Whatever schemathesis can think of, against a whole server: 500 examples of each route, and no failure.

python bench/fuzz.py
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from server import serving

ROOT = Path(__file__).parent.parent
EXAMPLES = 500


def main() -> None:
    os.environ["EASEL_ALLOW_NETWORKS"] = '["127.0.0.0/8"]'  # where tests/wire/fuzz.toml has its receiver
    with (
        tempfile.TemporaryDirectory(prefix="easel-fuzz-") as folder,
        serving(Path(folder), EASEL_SAFETY="on") as (url, token, _, _),
    ):
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/wire/fuzz.toml"),
            *("run", f"{url}/openapi.json", "-H", f"Authorization: Bearer {token}"),
            *("--max-examples", str(EXAMPLES)),
        ]
        ran = subprocess.run(command, cwd=ROOT)
    sys.exit(ran.returncode)


if __name__ == "__main__":
    main()
