FROM alpine:3.20
FROM debian:12 AS one
COPY --from=0 /etc/base /zero
FROM alpine:3.19
COPY --from=1 /etc/base /zero /
COPY --from=0 --chown=1:2 ["/etc/base", "/json"]
