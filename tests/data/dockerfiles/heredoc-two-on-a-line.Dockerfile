FROM alpine:3.20
RUN cat <<A <<B > /both
B
FROM no:1
A
A
FROM no:2
B
ARG LAST=1
LABEL last=$LAST
