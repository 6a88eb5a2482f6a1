FROM alpine:3.20
ARG A=1
ONBUILD ARG A=2
ONBUILD COPY --from=no:1 /a /b
ONBUILD RUN --mount=from=no:2,target=/x y
LABEL a=$A
