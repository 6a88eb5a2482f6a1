ARG FLAVOR=slim
FROM alpine:3.20 AS base-slim
LABEL flavor=slim
FROM debian:12 AS base-full
LABEL flavor=full
FROM base-$FLAVOR
ARG FLAVOR
ENV FLAVOR=$FLAVOR
