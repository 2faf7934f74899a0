#!/usr/bin/env bash
# Makes .venv: Python 3.10, the locked packages, and this project (editable). Run it as `make setup`.
#
# When nothing that it depends on has changed since the last time, it returns at once without touching anything.
# PYTHON=/path/to/python3.10 chooses the interpreter. `scripts/setup.sh lock [--upgrade]` writes requirements.lock anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A uv on PATH is used if it is at least this new; where there is none, the version that the lock was tested with is
# installed.
UV_AT_LEAST=0.8.0
UV_VERSION=0.13.9
VENV=.venv
# Newer schemas than .venv can have; see requirements-contract.in.
CONTRACT=.venv/contract
BOOTSTRAP=.bootstrap
STAMP=$VENV/set-up-from
export UV_PYTHON_PREFERENCE=system
# Progress bars in a terminal; elsewhere only what goes wrong.
QUIET=-q
if [ -t 2 ]; then
  QUIET=
fi

say() { printf 'set-up: %s\n' "$*" >&2; }
die() {
  say "$1"
  shift
  printf '  %s\n' "$@" >&2
  exit 1
}

# What .venv is made from. The folder counts too, since an editable install does not survive a move, and so do the names
# of the packages, since it lists them.
digest() {
  { pwd -P; echo */__init__.py; cat setup.py requirements*.lock scripts/setup.sh scripts/farmhash/*.py; } | sha256sum | cut -d ' ' -f 1
}

is_set_up() { [ -x "$VENV/bin/python" ] && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$1" ]; }

# A name on PATH proves nothing (a pyenv shim may stand there without a version behind it), so each one is run.
is_python_310() {
  "$1" -c 'import sys, bz2, ctypes, lzma, sqlite3, ssl, zlib; sys.exit(sys.version_info[:2] != (3, 10))' \
    > /dev/null 2>&1
}

find_python_310() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    is_python_310 "$PYTHON" || die "PYTHON=$PYTHON is not a working Python 3.10." "Unset it, or name another one."
    printf '%s\n' "$PYTHON"
    return
  fi
  for candidate in python3.10 python3 python "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10*/bin/python3.10 \
      "$HOME"/.pyenv/versions/3.10*/bin/python3.10; do
    if is_python_310 "$candidate"; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  say "no Python 3.10 on PATH or in pyenv; asking uv for one"
  candidate=$("$UV" python find --no-project 3.10 2> /dev/null) \
    || { "$UV" python install 3.10 >&2 && candidate=$("$UV" python find --no-project 3.10); } \
    || die "no Python 3.10 was found, and uv could not download one." \
      "TFX 1.16 needs Python 3.10. Install it in one of these ways and run this again:" \
      "  pyenv install 3.10      (needs a compiler)" \
      "  uv python install 3.10  (needs access to the releases of python-build-standalone)" \
      "or name one: PYTHON=/path/to/python3.10 make setup"
  is_python_310 "$candidate" || die "uv's Python 3.10 ($candidate) does not run." "Remove it and run this again."
  printf '%s\n' "$candidate"
}

is_new_enough() {
  local version
  version=$("$1" --version 2> /dev/null | cut -d ' ' -f 2) && [ -n "$version" ] \
    && [ "$(printf '%s\n' "$UV_AT_LEAST" "$version" | sort -V | head -n 1)" = "$UV_AT_LEAST" ]
}

# Debian and Ubuntu keep venv and pip in packages of their own. `apt-get download` needs no root and installs nothing:
# pip's wheel is unpacked into a private folder, and a wheel of pip can be run as it is.
fetch_pip_wheel() {
  local folder=$BOOTSTRAP/pip
  rm -rf "$folder" && mkdir -p "$folder"
  (cd "$folder" && { apt-get download -qq python3-pip-whl || apt-get download -qq python-pip-whl; } \
    && dpkg-deb -x ./*.deb .) > /dev/null 2>&1 || return 1
  ls "$PWD/$folder"/usr/share/python-wheels/pip-*.whl 2> /dev/null | head -n 1
}

# Prints the uv to use: PATH's, or a private one installed with any Python 3, by venv, by pip, or by Debian's pip wheel.
find_uv() {
  local candidate log=$BOOTSTRAP/log.txt wheel
  for candidate in "$(command -v uv || true)" "$BOOTSTRAP/venv/bin/uv" "$BOOTSTRAP/lib/bin/uv"; do
    if [ -n "$candidate" ] && is_new_enough "$candidate"; then
      case $candidate in /*) printf '%s\n' "$candidate" ;; *) printf '%s\n' "$PWD/$candidate" ;; esac
      return
    fi
  done
  python3 -c '' 2> /dev/null || die "no Python 3 was found." "Install one: apt-get install python3"
  say "installing uv into $BOOTSTRAP"
  rm -rf "$BOOTSTRAP/venv" "$BOOTSTRAP/lib" && mkdir -p "$BOOTSTRAP" && : > "$log"
  if python3 -m venv "$BOOTSTRAP/venv" >> "$log" 2>&1 \
      && "$BOOTSTRAP/venv/bin/python" -m pip install -q "uv==$UV_VERSION" >> "$log" 2>&1; then
    printf '%s\n' "$PWD/$BOOTSTRAP/venv/bin/uv"
    return
  fi
  rm -rf "$BOOTSTRAP/venv"
  if python3 -m pip install -q --target "$BOOTSTRAP/lib" "uv==$UV_VERSION" >> "$log" 2>&1 \
      || { wheel=$(fetch_pip_wheel) && [ -n "$wheel" ] \
        && python3 "$wheel/pip" install -q --target "$BOOTSTRAP/lib" "uv==$UV_VERSION" >> "$log" 2>&1; }; then
    printf '%s\n' "$PWD/$BOOTSTRAP/lib/bin/uv"
    return
  fi
  tail -n 5 "$log" >&2
  die "uv could not be installed with python3 (all of it: $log)." \
    "If venv or pip is missing: apt-get install python3-venv" \
    "If the network is: install uv by hand, so that it is on PATH, and run this again."
}

# `sync` removes what the lock does not name, so that everyone's .venv is the same. Nothing is fetched to build a package:
# what comes as source is built with the locked setuptools.
install_everything() {
  local python=$VENV/bin/python
  if ! is_python_310 "$python"; then
    PYTHON_310=$(find_python_310)
    say "making $VENV with $PYTHON_310"
    "$UV" venv -q --clear --python "$PYTHON_310" "$VENV"
  fi
  awk '/^[a-z]/ { keep = /^(setuptools|wheel|packaging)==/ } keep' requirements.lock > "$BOOTSTRAP/build.lock"
  "$UV" pip install -q --python "$python" --no-deps -r "$BOOTSTRAP/build.lock"
  say "installing the locked packages (about 3 GB; minutes on the first run)"
  # Compiled once here: TensorFlow and TFX are thousands of files, and where Python may not write bytecode, every start
  # of every process would compile them again.
  "$UV" pip sync $QUIET --python "$python" --no-build-isolation --compile-bytecode requirements.lock
  "$UV" pip install -q --python "$python" --no-deps --no-build-isolation ./scripts/farmhash
  "$UV" pip install -q --python "$python" --no-deps --no-build-isolation -e .
  "$UV" venv -q --clear --python "$python" "$CONTRACT"
  "$UV" pip install -q --python "$CONTRACT/bin/python" --no-deps -r requirements-contract.lock
}

main() {
  local digest
  digest=$(digest)
  if is_set_up "$digest"; then
    return
  fi
  mkdir -p "$BOOTSTRAP"
  # Two commands started together must not install into one .venv at once.
  exec 9> "$BOOTSTRAP/lock"
  if command -v flock > /dev/null; then
    flock 9
  fi
  if is_set_up "$digest"; then
    return
  fi
  # Should this be interrupted, the next run must not take the half-made .venv for a whole one.
  rm -f "$STAMP"
  UV=$(find_uv)
  install_everything
  printf '%s\n' "$digest" > "$STAMP.new"
  mv "$STAMP.new" "$STAMP"
  say "done: $VENV"
}

lock() {
  mkdir -p "$BOOTSTRAP"
  UV=$(find_uv)
  "$UV" pip compile -q --python "$VENV/bin/python" --python-version 3.10 --override scripts/overrides.txt \
    --extra tfx --extra kubeflow --extra s3 --extra benchmark --extra examples --extra docs --extra dev --generate-hashes \
    --no-emit-index-url --no-emit-find-links \
    --custom-compile-command "make lock" -o requirements.lock "$@" setup.py requirements.in
  "$UV" pip compile -q --python-version 3.10 --no-deps --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command "make lock" -o requirements-contract.lock "$@" requirements-contract.in
  # What the image has of it, without the tools of development; and the same with CUDA's libraries.
  lock_image kubeflow/requirements.lock
  lock_image kubeflow/requirements-cuda.lock --extra cuda
}

lock_image() {
  local output=$1
  shift
  "$UV" pip compile -q --python "$VENV/bin/python" --python-version 3.10 --override scripts/overrides.txt \
    --extra tfx --extra kubeflow --extra s3 "$@" --constraint requirements.lock --generate-hashes --no-annotate \
    --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" -o "$output" setup.py requirements.in
}

case "${1:-}" in
  "") main ;;
  lock) shift && lock "$@" ;;
  *) die "unknown argument: $1" "Usage: scripts/setup.sh [lock [--upgrade]]" ;;
esac
