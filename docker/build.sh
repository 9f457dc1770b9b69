#!/usr/bin/env bash
# Build and try out the images: docker/build.sh train|generate [TAG]
#   BASE     base image by digest; made here by debootstrap when left out, as nothing may be pullable
#   DOCKER   the docker command, where there are several
#   CA_FILE  certificates to trust while packages are fetched; the machine's own when left out
set -euo pipefail
cd "$(dirname "$0")/.."
role=${1:?"usage: docker/build.sh train|generate [TAG]"} tag=${2:-dev}
case $role in
    train) lock=requirements.txt ;;
    generate) lock=requirements-generate.txt ;;
    *) echo "unknown role $role" >&2; exit 64 ;;
esac
docker=${DOCKER:-docker}
"$docker" info >/dev/null 2>&1 || { echo "no Docker engine answers; start dockerd" >&2; exit 69; }
# The classic builder is everywhere, but keeps another copy of a layer while it works.
export DOCKER_BUILDKIT=1
"$docker" build --help >/dev/null 2>&1 || DOCKER_BUILDKIT=0

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
if [[ -z ${BASE:-} ]]; then
    BASE=retort/base:bookworm   # made here, so there is no registry's digest to name it by
    "$docker" image inspect "$BASE" >/dev/null 2>&1 || docker/base.sh "$BASE"
elif [[ $BASE != *@sha256:* ]]; then
    echo "BASE=$BASE is not pinned: name it with @sha256:..." >&2
    exit 64
fi

# What git tracks, as it is in this folder: a pod refuses code other than that of the machine that submits.
git ls-files retort components pipelines configs pyproject.toml setup.py README.md LICENSE | tar -c -T - | tar -x -C "$context"
cp docker/requirements-generate.txt requirements.txt "$context"
cp "${CA_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$context/ca.crt"
revision=$(git rev-parse HEAD)$([[ -z $(git status --porcelain -- retort components pipelines) ]] || echo -dirty)

"$docker" build -q --network host --target "$role" -t "retort/$role:$tag" -f docker/Dockerfile \
    --build-arg BASE="$BASE" --build-arg LOCK="$lock" --build-arg UV_VERSION="$(sed -n 's/^UV_VERSION := //p' Makefile)" \
    --build-arg REVISION="$revision" --build-arg LOCK_SHA256="$(sha256sum <"$context/$lock" | cut -d' ' -f1)" "$context"

# As a hardened pod would run it: no network, nothing writable but /tmp, no privileges, a user without a name.
try=("$docker" run --rm --network none --read-only --tmpfs /tmp:rw,size=6g --user 65532:65532 --cap-drop ALL
     --security-opt no-new-privileges -v "$PWD/docker/try.py:/try.py:ro" -v "$PWD/configs:/configs:ro" "retort/$role:$tag")
"${try[@]}" retort doctor
"${try[@]}" python3 /try.py
"$docker" image inspect -f "retort/$role:$tag {{.Id}} {{.Size}} bytes" "retort/$role:$tag"
