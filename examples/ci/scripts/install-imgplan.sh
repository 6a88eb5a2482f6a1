#!/usr/bin/env bash
# Installs the release archive of imgplan for Linux into a folder, after a check of its SHA-256.
#
# Usage: install-imgplan.sh FOLDER
# IMGPLAN_RELEASES  URL of the releases: https://github.com/OWNER/imgplan/releases/download
# IMGPLAN_VERSION   version, such as 0.1.0
# IMGPLAN_SHA256    checksum of imgplan-VERSION-MACHINE-unknown-linux-musl.tar.gz: from your own review
#                   of the release, not from the server at the time of the job

set -euo pipefail

folder=$1
name=imgplan-$IMGPLAN_VERSION-$(uname -m)-unknown-linux-musl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

curl --fail --silent --show-error --location --retry 3 --proto '=https' \
    --output "$work/imgplan.tar.gz" "$IMGPLAN_RELEASES/v$IMGPLAN_VERSION/$name.tar.gz"
if ! printf '%s  %s\n' "$IMGPLAN_SHA256" "$work/imgplan.tar.gz" | sha256sum --check --quiet; then
    echo "error: $name.tar.gz does not have the checksum of IMGPLAN_SHA256; nothing was installed" >&2
    exit 1
fi
tar -xzf "$work/imgplan.tar.gz" -C "$work"
mkdir -p "$folder"
install -m 755 "$work/$name/imgplan" "$folder/imgplan"
"$folder/imgplan" --version
