FROM alpine:3.20
ARG A=1
RUN <<EOF
FROM no:1
EOF
LABEL a=$A
