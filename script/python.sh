# shellcheck shell=sh
# Sourced by its neighbours: sets `python` to the first Python 3.11 or newer on the PATH that can
# make virtual environments. Builtins only: the PATH may hold nothing but that Python.

python=
for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    answer=0
    "$candidate" -I -c '
import sys
if sys.version_info < (3, 11):
    sys.exit(10)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(11)
' </dev/null >/dev/null 2>&1 || answer=$?
    case $answer in
        0)
            python=$candidate
            break
            ;;
        11) python=${python:-$candidate} ;; # good enough where .venv exists; bootstrap.py tells
    esac
done
if [ -z "$python" ]; then
    echo "${0##*/}: no Python 3.11 or newer was found on the PATH" >&2
    exit 1
fi
