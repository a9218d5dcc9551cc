#!/bin/sh
# Install a wheel in an empty virtual environment and train with it, outside the checkout.
#
#   sh docs/scripts/try_wheel.sh python3.12 dist/qsgd_lab-0.1.0-py3-none-any.whl
set -eu
python=$1
wheel=$(realpath "$2")
constraints=$(realpath "$(dirname "$0")/../../constraints.txt")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
cd "$folder"
venv/bin/python -m pip install --quiet --no-compile --constraint "$constraints" "$wheel"
venv/bin/qsgd-lab --version
venv/bin/qsgd-lab reproduce --nodes 2 --bits 4 --seeds 0 --epochs 1
venv/bin/qsgd-lab report
test -s report.html
echo "the wheel works under $("$python" --version)"
