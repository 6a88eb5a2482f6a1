#!/usr/bin/env bash
# Proves that the provider's own client works against a server: every command of `prime images`
# that the server serves, and what it prints. Made with prime 0.6.26 and prime-sandboxes 0.2.39.
#
#   tests/prime/check.sh http://127.0.0.1:PORT [TOKEN]
#
# Needs `prime` on the PATH. Uses an empty home and a temporary folder, removes from the server what
# it made (but for one platform image, which this client cannot delete), and stops at the first
# surprise. Takes about a minute, most of it to start Python a hundred times; the client polls its
# bulk builds every ten seconds, during which the rest goes on.

set -euo pipefail

url=${1:?usage: $0 URL [TOKEN]}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
mkdir home push-bulk transfer-bulk push-bulk/home transfer-bulk/home

# Of the caller's environment, only the PATH: no account of theirs may be touched.
client() {
    env -i PATH="$PATH" HOME="$PWD/home" TERM=dumb NO_COLOR=1 COLUMNS=200 LC_ALL=C.UTF-8 \
        PRIME_DISABLE_VERSION_CHECK=1 PRIME_API_BASE_URL="$url" PRIME_API_KEY="$token" \
        PRIME_TEAM_ID="$team" prime "$@"
}
token=${2:-local-token}
team=""
# Names of this run, so that one server may be checked twice.
run="chk$$"
steps=0

fail() {
    printf 'FAILED: %s\n' "$1" >&2
    [ ! -s out ] || sed 's/^/    /' out >&2
    exit 1
}

# A step: run the client, and compare its exit code. Its output is left in ./out.
expect() {
    local code=$1 got=0
    shift
    client "$@" >out 2>&1 </dev/null || got=$?
    [ "$got" = "$code" ] || fail "prime $* exited with $got and not with $code"
    steps=$((steps + 1))
}
ok() { expect 0 "$@"; }
says() { grep -qF -- "$1" out || fail "the output has no \`$1\`"; }
silent_about() { ! grep -qF -- "$1" out || fail "the output has \`$1\`"; }

# One field of the first row that the listing has for a search. The listing is printed with one
# field a line.
field() {
    client images list --output json --search "$1" "${@:3}" >out 2>&1 ||
        fail "prime images list --search $1 failed"
    sed -n "s/^ *\"$2\": \(.*[^,]\),\{0,1\}$/\1/p" out | head -n 1 | tr -d '"'
}

# Waits until a build has ended as it should.
wait_for() {
    local image=$1 wanted=$2 status=
    for _ in $(seq 60); do
        status=$(field "$image" status "${@:3}")
        [ "$status" = "$wanted" ] && return
        case $status in COMPLETED | FAILED | CANCELLED) break ;; esac
        sleep 0.5
    done
    fail "$image is ${status:-not listed} and not $wanted"
}

context() {
    mkdir -p "$1"
    printf 'FROM %s\nCOPY %s /\n' "$2" "$3" >"$1/Dockerfile"
    echo hello >"$1/hello.txt"
}

# The bulk commands run beside the others, each in a folder and a home of its own.
push_bulk() {
    cd push-bulk
    context good ubuntu:22.04 hello.txt
    context bad ubuntu:22.04 missing.txt
    for image in b1 b2 b3; do
        printf '{"image": "%s-%s:v1", "context": "good"}\n' "$run" "$image"
    done >bulk.jsonl
    printf '{"image": "%s-b4:v1", "context": "bad"}\n' "$run" >>bulk.jsonl
    expect 1 images push-bulk --manifest bulk.jsonl
    [ "$(wc -l <push-bulk-failures.jsonl)" = 1 ] || fail "not one failure was written down"
    wait_for "$run-b3:v1" COMPLETED
    wait_for "$run-b4:v1" FAILED
    cp good/hello.txt bad/missing.txt
    ok images push-bulk --manifest push-bulk-failures.jsonl
    wait_for "$run-b4:v1" COMPLETED
    echo "$steps" >steps
}
transfer_bulk() {
    cd transfer-bulk
    printf '{"source": "docker.io/org/%s-%s:v1"}\n' "$run" t1 "$run" t2 >transfers.jsonl
    ok images transfer-bulk --manifest transfers.jsonl
    wait_for "$run-t1:v1" COMPLETED
    wait_for "$run-t2:v1" COMPLETED
    echo "$steps" >steps
}
joined() {
    wait "$1" || exit 1
    steps=$((steps + $(cat "$2/steps")))
}
push_bulk &
push_bulk=$!
transfer_bulk &
transfer_bulk=$!

echo "account"
ok whoami
says local

echo "push"
context good ubuntu:22.04 hello.txt
context bad ubuntu:22.04 missing.txt
ok images push "$run-app:v1" --context good
says "Build initiated successfully!"
wait_for "$run-app:v1" COMPLETED
path=$(field "$run-app:v1" fullImagePath)
[ "$(field "$run-app:v1" visibility)" = PRIVATE ] || fail "a new image is not private"
ok images push "$run-bad:v1" --context bad
wait_for "$run-bad:v1" FAILED
reason=$(field "$run-bad:v1" errorMessage)
case $reason in *missing.txt*) ;; *) fail "the failure does not name the file: $reason" ;; esac
context child "$path" .
ok images push "$run-child:v1" --context child --public --platform linux/arm64
wait_for "$run-child:v1" COMPLETED
[ "$(field "$run-child:v1" visibility)" = PUBLIC ] || fail "--public was not kept"
context orphan "prime/local/$run-nowhere:v1" .
ok images push "$run-orphan:v1" --context orphan
wait_for "$run-orphan:v1" FAILED
mkdir elsewhere && cp good/Dockerfile elsewhere/Other
ok images push "$run-other:v1" --context good --dockerfile elsewhere/Other
wait_for "$run-other:v1" COMPLETED
expect 1 images push "$run-Upper:v1" --context good
says "is not an image name"

echo "transfer"
ok images push "$run-mirror:v1" --source-image docker.io/library/ubuntu:22.04
says "Image transfer queued successfully!"
wait_for "$run-mirror:v1" COMPLETED
ok images push --source-image "ghcr.io/org/$run-one:v1,quay.io/org/$run-two:v1"
says "Builds: 2"
wait_for "$run-one:v1" COMPLETED
wait_for "$run-two:v1" COMPLETED
expect 1 images push "$run-x:v1" --source-image "ubuntu@sha512:00"
says "Invalid transfer source"
ok images push "$run-platform:v1" --source-image ubuntu:22.04 --platform-image
wait_for "$run-platform:v1" COMPLETED --platform-image
[ "$(field "$run-platform:v1" visibility --platform-image)" = PUBLIC ] ||
    fail "a platform image is not public"

echo "push-bulk, transfer-bulk"
joined "$push_bulk" push-bulk
joined "$transfer_bulk" transfer-bulk

echo "list"
ok images list --search "$run-b" --num 3
says "of 5 image(s)"
ok images list --search "$run-b" --num 3 --page 2
says "showing 4-5 of 5 image(s)"
ok images list --search "$run-none"
says "No images match"

echo "publish, unpublish"
ok images publish "$run-app:v1"
says "to PUBLIC"
ok images push "$run-app:v1" --context good
wait_for "$run-app:v1" COMPLETED
[ "$(field "$run-app:v1" visibility)" = PUBLIC ] || fail "a second push lost the visibility"
ok images unpublish "$path"
[ "$(field "$run-app:v1" visibility)" = PRIVATE ] || fail "an unpublished image is not private"
ok images publish "$run-b1:v1" "$run-b2:v1"
says "Made 2 image(s) public"
expect 1 images publish "$run-b1:v1" "$run-none:v1"
says "not found"

echo "update, update-bulk"
ok images update "$run-b1:v1" --name "$run-renamed" --dry-run
says "No changes were applied."
ok images update "$run-b1:v1" --name "$run-renamed" --tag v2
wait_for "$run-renamed:v2" COMPLETED
expect 1 images update "$run-b2:v1" --name "$run-b3"
says "already exists"
personal='{"owner": {"type": "personal"}, "name": "%s", "tag": "v1"}'
{
    printf "{\"source\": $personal, \"set\": {\"visibility\": \"PUBLIC\"}}\n" "$run-b3"
    printf '{"source": {"reference": "%s"}, "set": {"tag": "v9"}}\n' "$path"
    printf "{\"source\": $personal, \"set\": {\"tag\": \"v9\"}}\n" "$run-none"
} >updates.jsonl
expect 1 images update-bulk --manifest updates.jsonl --dry-run
says "Would update: 2  Failed: 1"
expect 1 images update-bulk --manifest updates.jsonl
says "Updated: 2  Failed: 1"
says "image_not_found"
wait_for "$run-app:v9" COMPLETED

echo "teams"
team=chk-team
ok images push "$run-team:v1" --context good
wait_for "$run-team:v1" COMPLETED
ok images list --search "$run-team"
says "Team Docker Images"
[ "$(field "$run-team:v1" teamId)" = "$team" ] || fail "the image is not the team's"
ok teams list
says "$team"
ok images delete "prime/team-$team/$run-team:v1" --yes
says "Deleted"
team=""
ok images update "$run-b2:v1" --to-team chk-team --yes
team=chk-team
wait_for "$run-b2:v1" COMPLETED
ok images delete "$run-b2:v1" --yes
team=""

echo "delete"
ok images delete "prime/local/$run-app:v9" --yes
says "Deleted"
expect 1 images delete "$run-app:v9" --yes
says "not found"
for image in bad child orphan other mirror one two b3 b4 t1 t2; do
    ok images delete "$run-$image:v1" --yes
done
ok images delete "$run-renamed:v2" --yes
ok images list --search "$run-"
says "No images match"
silent_about Traceback

printf 'all well: %s commands of the client did what they should\n' "$steps"
