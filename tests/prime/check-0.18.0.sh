#!/usr/bin/env bash
# Proves that the provider's client of October 2026, `prime` 0.18.0 with `prime-sandboxes` 0.5.1, works
# against a server of the API of November 2026: every command of `prime images`, and what it prints.
#
#   tests/prime/check-0.18.0.sh http://127.0.0.1:PORT [TOKEN]
#
# Needs `prime` on the PATH. Takes about a minute, because the client polls its bulk builds every ten
# seconds.

# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

push_bulk_sources() {
    {
        printf '{"source": "ghcr.io/org/%s-t1:v1"}\n' "$run"
        printf '{"source": "quay.io/org/app:v1", "image": "%s-t2:v1"}\n' "$run"
        printf '{"source": "docker.io/org/%s-t3:v1"}\n' "$run"
    } >sources.jsonl
    ok images push-bulk --manifest sources.jsonl
    wait_for "$run-t1:v1" COMPLETED
    wait_for "$run-t2:v1" COMPLETED
    wait_for "org/$run-t3:v1" COMPLETED --platform-image
    field_is "org/$run-t3:v1" visibility PUBLIC --platform-image
    echo '{"source": "gcr.io/org/app:v1"}' >sources.jsonl
    expect 1 images push-bulk --manifest sources.jsonl
}

beside push_bulk
push_bulk=$!
beside push_bulk_sources
push_bulk_sources=$!

account
push --arch arm64
field_is "$run-app:v1" artifactType VM_SANDBOX

echo "push --source-image"
ok images push "$run-mirror:v1" --source-image ghcr.io/org/app:v1
says "VM image build queued successfully!"
wait_for "$run-mirror:v1" COMPLETED
ok images push --source-image registry.k8s.io/pause:3.9 --private
says "prime/local/pause:3.9"
wait_for pause:3.9 COMPLETED
ok images delete pause:3.9 --yes
ok images push --source-image "ghcr.io/org/$run-one:v1,quay.io/org/$run-two:v1"
says "Builds: 2"
wait_for "$run-one:v1" COMPLETED
wait_for "$run-two:v1" COMPLETED
expect 1 images push --source-image "ghcr.io/a/$run-same:v1,ghcr.io/b/$run-same:v1"
says "Duplicate destination $run-same:v1"
wait_for "$run-same:v1" COMPLETED
ok images push "$run-platform:v1" --source-image ghcr.io/org/app:v1 --platform-image
wait_for "$run-platform:v1" COMPLETED --platform-image
for unsupported in gcr.io/org/app:v1 example.com/org/app:v1 "ghcr.io/org/$run-not:v1,gcr.io/a/b:v1"; do
    expect 1 images push --source-image "$unsupported"
    says "not supported"
done
ok images list --search "$run-not"
says "No images match"

echo "push --source-image of Docker Hub"
team=chk-team
ok images push --source-image "docker.io/org/$run-hub:v1"
says "Team context ignored"
says "org/$run-hub:v1"
wait_for "org/$run-hub:v1" COMPLETED --platform-image
team=""
ok images push --source-image "docker.io/library/debian:12,org/$run-hub2:v1"
says "Builds: 2"
wait_for debian:12 COMPLETED --platform-image
wait_for "org/$run-hub2:v1" COMPLETED --platform-image
expect 1 images push --source-image "ubuntu@sha512:00"

echo "push-bulk"
joined push_bulk "$push_bulk"
joined push_bulk_sources "$push_bulk_sources"

list
publish
update
teams
for image in hub hub2 t3; do
    ok images delete "org/$run-$image:v1" --yes
done
delete mirror one two same t1 t2
