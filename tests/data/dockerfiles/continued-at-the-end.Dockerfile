FROM alpine:3.20
LABEL a=1
ARG A=1 \