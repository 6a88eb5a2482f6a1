ARG TAG
FROM alpine:${TAG:?which}
