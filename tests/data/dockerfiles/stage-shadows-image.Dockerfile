FROM alpine:3.20 AS alpine
FROM alpine AS debian
LABEL one=1
FROM alpine:3.19
COPY --from=debian /etc/base /base
RUN --mount=from=alpine,source=/etc,target=/mnt echo
