FROM alpine:3.20 AS parent
ONBUILD RUN <<EOF
FROM no:1
ARG A=no
EOF
FROM parent
ARG A=1
LABEL a=$A
