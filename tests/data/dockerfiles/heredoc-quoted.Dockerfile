FROM alpine:3.20
ARG A
RUN <<'EOF' cat <<"E F" 3<<\G
FROM no:1
EOF
FROM no:2
E F
FROM no:3
G
LABEL a=$A
