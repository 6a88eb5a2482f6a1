# Steps of the checks of the provider's own client, which `check-VERSION.sh` sources with the server's
# URL and API key. A check uses an empty home and a temporary folder, and stops at the first surprise.
# It removes from the server what it made, except for images of the platform that the client cannot
# name.

set -euo pipefail

url=${1:?usage: $0 URL [TOKEN] [API]}
token=${2:-local-token}
# Version of the API that the server serves.
api=${3:-2026-11}
team=""
# Names of this run, so that one server may be checked twice.
run="chk$$"
steps=0

steps_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
finish() {
    # shellcheck disable=SC2046 # several numbers
    kill $(jobs -p) 2>/dev/null || true
    exec 3>&-
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
cd "$work"
mkdir home

fail() {
    printf 'FAILED: %s\n' "$1" >&2
    [ ! -s out ] || sed 's/^/    /' out >&2
    exit 1
}

# Starts the program that runs the client. Of the caller's environment, it gets only the PATH: no account
# of theirs may be touched.
prime=$(command -v prime)
# Of the first line, or of the second if its path is too long for the first.
python=$(head -n 2 "$prime" | grep -om 1 '/[^"]*python[0-9.]*' || true)
[ -x "$python" ] || fail "$prime is not a script that names its Python"
exec 3> >(exec env -i PATH="$PATH" HOME="$PWD/home" TERM=dumb NO_COLOR=1 COLUMNS=200 LC_ALL=C.UTF-8 \
    PRIME_DISABLE_VERSION_CHECK=1 PRIME_API_BASE_URL="$url" PRIME_API_KEY="$token" \
    "$python" "$steps_folder/client.py" "$prime")
calls=$!

# Runs the client, and returns its exit code. Its output is left in ./out.
client() {
    local IFS=$'\t' code=
    [ -p code ] || mkfifo code
    printf '%s\n' "$PWD"$'\t'"$team"$'\t'"$*" >&3
    until read -t 5 -r code; do
        kill -0 "$calls" 2>/dev/null || fail "the program that runs the client has ended"
    done <>code
    return "$code"
}

# A step: run the client, and compare its exit code.
expect() {
    local code=$1 got=0
    shift
    client "$@" || got=$?
    [ "$got" = "$code" ] || fail "prime $* exited with $got and not with $code"
    steps=$((steps + 1))
}
ok() { expect 0 "$@"; }
says() { grep -qF -- "$1" out || fail "the output has no \`$1\`"; }
silent_about() { ! grep -qF -- "$1" out || fail "the output has \`$1\`"; }

# One field of the first row that the listing has for a search. The listing is printed with one
# field a line.
field() {
    client images list --output json --search "$1" "${@:3}" ||
        fail "prime images list --search $1 failed"
    sed -n "s/^ *\"$2\": \(.*[^,]\),\{0,1\}$/\1/p" out | head -n 1 | tr -d '"'
}

# Fails if a field of an image is not as expected.
field_is() {
    local got
    got=$(field "$1" "$2" "${@:4}")
    [ "$got" = "$3" ] || fail "$2 of $1 is $got and not $3"
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

# Runs steps in a folder and a home of their own, beside the others: the client polls its bulk builds
# every ten seconds.
beside() {
    mkdir -p "$1/home"
    (
        cd "$1"
        steps=0
        "$1"
        echo "$steps" >steps
    ) &
}
joined() {
    # Its number may belong to a later process meanwhile, and `wait` then fails: the steps that it wrote
    # down at its end say more.
    wait "$2" || true
    [ -s "$1/steps" ] || exit 1
    steps=$((steps + $(cat "$1/steps")))
}

# The commands whose options and output are the same in all versions.
account() {
    echo "account"
    ok whoami
    says local
}

push() {
    echo "push"
    context good ubuntu:22.04 hello.txt
    context bad ubuntu:22.04 missing.txt
    ok images push "$run-app:v1" --context good
    says "Build initiated successfully!"
    wait_for "$run-app:v1" COMPLETED
    path=prime/local/$run-app:v1
    field_is "$run-app:v1" displayRef "$path"
    field_is "$run-app:v1" visibility PRIVATE
    ok images push "$run-bad:v1" --context bad
    wait_for "$run-bad:v1" FAILED
    local reason
    reason=$(field "$run-bad:v1" errorMessage)
    case $reason in *missing.txt*) ;; *) fail "the failure does not name the file: $reason" ;; esac
    context child "$path" .
    ok images push "$run-child:v1" --context child --public "$@"
    wait_for "$run-child:v1" COMPLETED
    field_is "$run-child:v1" visibility PUBLIC
    context orphan "prime/local/$run-nowhere:v1" .
    ok images push "$run-orphan:v1" --context orphan
    wait_for "$run-orphan:v1" FAILED
    mkdir elsewhere && cp good/Dockerfile elsewhere/Other
    ok images push "$run-other:v1" --context good --dockerfile elsewhere/Other
    wait_for "$run-other:v1" COMPLETED
    expect 1 images push "$run-Upper:v1" --context good
    says "is not an image name"
}

# Builds of contexts by `push-bulk`; four of them remain: b1 to b4.
push_bulk() {
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
}

list() {
    echo "list"
    ok images list
    says "Personal"
    ok images list --search "$run-b" --num 3
    says "of 5 image(s)"
    ok images list --search "$run-b" --num 3 --page 2
    says "showing 4-5 of 5 image(s)"
    ok images list --search "$run-none"
    says "No images match"
    ok images list --platform-image
}

publish() {
    echo "publish, unpublish"
    ok images publish "$run-app:v1"
    says "to PUBLIC"
    ok images push "$run-app:v1" --context good
    wait_for "$run-app:v1" COMPLETED
    field_is "$run-app:v1" visibility PUBLIC
    ok images unpublish "$path"
    field_is "$run-app:v1" visibility PRIVATE
    ok images publish "$run-b1:v1" "$run-b2:v1"
    says "Made 2 image(s) public"
    expect 1 images publish "$run-b1:v1" "$run-none:v1"
    says "not found"
}

update() {
    echo "update, update-bulk"
    ok images update "$run-b1:v1" --name "$run-renamed" --dry-run
    says "No changes were applied."
    ok images update "$run-b1:v1" --name "$run-renamed" --tag v2
    wait_for "$run-renamed:v2" COMPLETED
    expect 1 images update "$run-b2:v1" --name "$run-b3"
    says "already exists"
    local personal='{"owner": {"type": "personal"}, "name": "%s", "tag": "v1"}'
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
    ok images update "$run-other:v1" --to-platform --yes
    field_is "$run-other:v1" visibility PUBLIC --platform-image
}

teams() {
    echo "teams"
    team=chk-team
    ok images push "$run-team:v1" --context good
    wait_for "$run-team:v1" COMPLETED
    ok images list --search "$run-team"
    says "Team"
    field_is "$run-team:v1" teamId "$team"
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
}

# Deletes what the other steps and the given images left.
delete() {
    echo "delete"
    ok images delete "prime/local/$run-app:v9" --yes
    says "Deleted"
    expect 1 images delete "$run-app:v9" --yes
    says "not found"
    for image in bad child orphan b3 b4 "$@"; do
        ok images delete "$run-$image:v1" --yes
    done
    ok images delete "$run-renamed:v2" --yes
    ok images list --search "$run-"
    says "No images match"
    silent_about Traceback
    printf 'all well: %s commands of the client did what they should\n' "$steps"
}
