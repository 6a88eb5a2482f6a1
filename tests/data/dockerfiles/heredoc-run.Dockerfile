FROM alpine:3.20 AS build
ARG WHO=world
RUN <<EOF
FROM no:1
ARG WHO=nobody
COPY --from=no:2 a b
echo "hello $WHO"
EOF
FROM debian:12
COPY --from=build /etc/base /base
