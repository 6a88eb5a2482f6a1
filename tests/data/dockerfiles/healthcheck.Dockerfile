FROM alpine:3.20 AS a
HEALTHCHECK --interval=5m --timeout=3s \
  CMD test -f /x || exit 1
ARG PORT=80
EXPOSE $PORT 81/udp
FROM a
HEALTHCHECK NONE
