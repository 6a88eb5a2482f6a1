FROM alpine:3.20 AS parent
ONBUILD ARG A=1
ONBUILD ENV FROM_PARENT=$A
ONBUILD COPY --from=debian:12 /etc/base /from-debian
FROM parent
LABEL a=$A
