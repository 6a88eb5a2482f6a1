FROM alpine:3.20
RUN --mount="type=bind,from=debian:12,target=/mnt" --mount=type=bind,FROM=golang:1.22,Target=/x a
RUN --mount='from=alpine,from=alpine:3.19,target=/mnt' --network=none b
