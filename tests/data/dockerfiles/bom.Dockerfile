# escape=`
ARG TAG=3.20
FROM alpine:$TAG
LABEL a=1 `
  b=2
