#!/usr/bin/env bash
# Proves that the provider's client of August 2026, `prime` 0.6.26 with `prime-sandboxes` 0.2.39, works
# against a server: every command of `prime images`, and what it prints.
#
#   tests/prime/check-0.6.26.sh http://127.0.0.1:PORT [TOKEN] [2026-08|2026-11]
#
# Needs `prime` on the PATH. Takes about a minute, because the client polls its bulk builds every ten
# seconds.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

transfer_bulk() {
    printf '{"source": "%s"}\n' "ghcr.io/org/$run-t1:v1" "docker.io/org/$run-t2:v1" >sources.jsonl
    ok images transfer-bulk --manifest sources.jsonl
    wait_for "$run-t1:v1" COMPLETED
    if [ "$api" = 2026-08 ]; then
        wait_for "$run-t2:v1" COMPLETED
    else
        wait_for "org/$run-t2:v1" COMPLETED --platform-image
    fi
}

beside push_bulk
push_bulk=$!
beside transfer_bulk
transfer_bulk=$!

account
push --platform linux/arm64

echo "transfer"
ok images push "$run-mirror:v1" --source-image ghcr.io/org/app:v1
says "Image transfer queued successfully!"
wait_for "$run-mirror:v1" COMPLETED
if [ "$api" = 2026-08 ]; then
    ok images push "$run-hub:v1" --source-image docker.io/library/ubuntu:22.04
    wait_for "$run-hub:v1" COMPLETED
    ok images push --source-image "ghcr.io/org/$run-one:v1,quay.io/org/$run-two:v1"
    says "Builds: 2"
else
    # The service makes an image of the platform, whatever the client requests.
    ok images push "$run-hub:v1" --source-image "docker.io/org/$run-hub:v2"
    wait_for "org/$run-hub:v2" COMPLETED --platform-image
    # The client cannot read the response to a list, which it did not know yet.
    expect 1 images push --source-image "ghcr.io/org/$run-one:v1,quay.io/org/$run-two:v1"
fi
wait_for "$run-one:v1" COMPLETED
wait_for "$run-two:v1" COMPLETED
expect 1 images push "$run-x:v1" --source-image "ubuntu@sha512:00"
says "Invalid transfer source"
ok images push "$run-platform:v1" --source-image ghcr.io/org/app:v1 --platform-image
wait_for "$run-platform:v1" COMPLETED --platform-image
field_is "$run-platform:v1" visibility PUBLIC --platform-image

echo "build-vm"
ok images build-vm "$run-app:v1"
says "VM image build queued for $run-app:v1"
expect 1 images build-vm "$run-none:v1"

echo "push-bulk, transfer-bulk"
joined push_bulk "$push_bulk"
joined transfer_bulk "$transfer_bulk"

list
publish
update
teams
if [ "$api" = 2026-08 ]; then
    delete mirror one two t1 t2 hub
else
    ok images delete "org/$run-hub:v2" --yes
    ok images delete "org/$run-t2:v1" --yes
    delete mirror one two t1
fi
