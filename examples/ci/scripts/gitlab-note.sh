#!/usr/bin/env bash
# Posts a Markdown file as a note of a GitLab merge request, or updates the note of an earlier run.
#
# Usage: gitlab-note.sh FILE
# GITLAB_NOTE_TOKEN  project access token with the role Reporter and the scope `api`
# CI_API_V4_URL, CI_PROJECT_ID, CI_MERGE_REQUEST_IID  set by GitLab

set -euo pipefail

python3 - "$1" <<'PYTHON'
import json
import os
import sys
import urllib.request

MARK = "<!-- imgplan -->"
base = "{}/projects/{}/merge_requests/{}/notes".format(
    *(os.environ[name] for name in ("CI_API_V4_URL", "CI_PROJECT_ID", "CI_MERGE_REQUEST_IID"))
)


def call(method, url, body=None):
    """Sends a request. The token is a header, so no other process of the machine can see it."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)
    request.add_header("PRIVATE-TOKEN", os.environ["GITLAB_NOTE_TOKEN"])
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response), response.headers.get("x-next-page")


def earlier_note():
    """Returns the ID of the note of an earlier run, or None. Only notes of the token's own user count."""
    user, _ = call("GET", os.environ["CI_API_V4_URL"] + "/user")
    page = "1"
    while page:
        notes, page = call("GET", f"{base}?per_page=100&page={page}")
        for note in notes:
            if note["author"]["id"] == user["id"] and note["body"].startswith(MARK):
                return note["id"]
    return None


with open(sys.argv[1], encoding="utf-8") as file:
    body = {"body": f"{MARK}\n{file.read()}"}
note = earlier_note()
if note is None:
    call("POST", base, body)
else:
    call("PUT", f"{base}/{note}", body)
PYTHON
