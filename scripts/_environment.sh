# shellcheck shell=bash
# Sourced by the other scripts. Creates a virtual environment in .venv with blurjax and its test tools, and updates it
# when pyproject.toml or constraints.txt has changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

made_from=$(cat pyproject.toml constraints.txt | cksum)
if [ "$(cat .venv/made_from 2>/dev/null)" != "$made_from" ]; then
    echo "Installing blurjax and its dependencies into .venv (about 2.5 GB, a few minutes) ..."
    "${PYTHON:-python3}" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint constraints.txt --editable '.[test]'
    echo "$made_from" > .venv/made_from
fi
