FROM alpine:3.20
ARG ID=one
RUN --mount=type=cache,target=/c,id=$ID --mount=type=secret,id=s --mount=type=ssh x
RUN --mount=type=cache,from=debian:12,source=/etc,target=/c y
