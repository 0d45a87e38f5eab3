#!/usr/bin/env bash
# Set up the environment and run the tests: `bash scripts/test.sh [pytest arguments]`, for example `-k rotations`.
# Without arguments: all but those marked slow, with two workers. `-m slow` runs those, `-m ''` all of them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$(bash setup_env.sh --dev --print_python)
# One thread for each worker: threads of several workers on few cores only get in each other's way.
export OMP_NUM_THREADS=1
if (($#)); then
    exec "$python" -m pytest "$@"
fi
exec "$python" -m pytest -n 2 -m "not slow" </dev/null
