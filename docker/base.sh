#!/usr/bin/env bash
# Make a base image from Debian's packages alone: docker/base.sh NAME:TAG (needs root and debootstrap)
set -euo pipefail
name=${1:?"usage: docker/base.sh NAME:TAG"}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,tini bookworm "$root" ${DEBIAN_MIRROR:-} >&2
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/usr/share/{doc,man,locale}/*
tar -C "$root" -c . | "${DOCKER:-docker}" import - "$name"
