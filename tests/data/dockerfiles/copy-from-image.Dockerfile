ARG TAG=12
FROM alpine:3.20
COPY --from=debian:12 /etc/base /debian
COPY --chown=1:1 --from=registry.example:5000/team/tool:1 /etc/base /tool
COPY --from=alpine /etc/base /latest
