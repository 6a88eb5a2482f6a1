# Everything up to the target stays.
ARG TAG=3.20

FROM alpine:$TAG AS base
FROM debian:12 AS unrelated
ARG SIDE=1

# The one that is built.
FROM base AS runtime
ARG A=1
LABEL a=$A
CMD ["a"]
# Of the next.

FROM runtime AS test
ARG ONLY_TEST=1
RUN test
