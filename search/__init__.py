"""The service: space file in, finished and reviewed search out."""

import os

# Ray reads both when it is first imported, so they stand before every file here that imports it.
# Under `uv run` it would ship the folder and build a second environment for each worker.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# It prints into our table that a worker died, whatever it is told about logs; the study says so.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")
