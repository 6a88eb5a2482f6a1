ARG BUILDER=$BUILDPLATFORM
ARG OTHER=linux/arm64
ARG NONE
FROM --platform=$BUILDPLATFORM golang:1 AS a
FROM --platform=$BUILDER golang:2 AS b
FROM --platform=linux/$BUILDARCH golang:3 AS c
FROM --platform=linux golang:4 AS d
FROM --platform=$TARGETPLATFORM golang:5 AS e
FROM --platform=linux/amd64 golang:6 AS f
FROM --platform=${OTHER} golang:7 AS g
FROM --platform=LINUX/aarch64 golang:8 AS h
FROM --platform=linux/arm/v7 golang:9 AS i
FROM --platform=windows/amd64 golang:10 AS j
FROM --platform="linux/arm64/v8" golang:11 AS k
FROM --platform=$NONE golang:12 AS l
FROM --platform=linux/arm64 a AS m
COPY --from=golang:13 /x /x
RUN --mount=from=golang:14 true
FROM golang:15
