FROM alpine:3.20 AS tools
FROM alpine:3.19
RUN --mount=type=bind,from=debian:12,source=/etc,target=/mnt \
    --mount=type=bind,from=TOOLS,source=/etc,target=/tools \
    --mount=type=tmpfs,target=/t \
    --mount=from=golang:1.22,target=/go,source=/etc \
    cmd --mount=from=no:1
