#!/usr/bin/env bash
# What is in the images by name, version and hash (CycloneDX, build/sbom-ROLE.json), and what of it is known to be
# vulnerable. Ends with 1 where anything is, and where anything could not be asked about: silence is no clean bill.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${1:?"usage: docker/audit.sh UV PYTHON"} python=${2:?"usage: docker/audit.sh UV PYTHON"}
"$uv" venv --quiet --clear --python "$python" build/audit
VIRTUAL_ENV=build/audit "$uv" pip install --quiet --require-hashes -r docker/audit.txt

for role in train:requirements.txt generate:docker/requirements-generate.txt; do
    PYTHONWARNINGS=ignore build/audit/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --of JSON \
        -o "build/sbom-${role%%:*}.json" "${role#*:}"
    echo "build/sbom-${role%%:*}.json"
done
status=0
for lock in requirements.txt docker/requirements-generate.txt requirements-dev.txt; do
    echo "$lock:"
    build/audit/bin/pip-audit --progress-spinner off --disable-pip --require-hashes --strict -r "$lock" || status=1
done
exit $status
