#!/bin/sh
# Runs scripts/setup.py with the first Python that is new enough. PYTHON=… puts another one first.
set -u
here=$(dirname "$0")
# The environment that is there answers at once; the search below is for when it is not.
if "$here/../.venv/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' >/dev/null 2>&1; then
  exec "$here/../.venv/bin/python" "$here/setup.py" "$@"
fi
fallback=
for candidate in ${PYTHON:-} python3.14 python3.13 python3.12 python3.11 python3 python; do
  command -v "$candidate" >/dev/null 2>&1 || continue
  "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' >/dev/null 2>&1 || continue
  # Debian ships Python without ensurepip; another one on PATH may have it.
  if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    exec "$candidate" "$here/setup.py" "$@"
  fi
  fallback=${fallback:-$candidate}
done
if [ -n "$fallback" ]; then
  exec "$fallback" "$here/setup.py" "$@"
fi
echo "set-up: no Python 3.11 or later on PATH. Install one (Debian: apt-get install python3 python3-venv)," >&2
echo "        or name it: make PYTHON=/path/to/python3.12 …" >&2
exit 3
