FROM --platform=$BUILDPLATFORM golang:1.22 AS build
ARG TARGETOS TARGETARCH
RUN echo $TARGETOS/$TARGETARCH
FROM alpine:3.20
COPY --from=build /ran /ran
