# syntax=docker/dockerfile:1

ARG TAG=3.20
FROM alpine:$TAG AS build
# A comment.
RUN echo a \
  # between

  b
ARG A="x y"
LABEL a=$A

FROM build
LABEL last=1
