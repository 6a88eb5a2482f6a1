ARG I=alpine:3.20
FROM alpine:3.20
ARG I
COPY --from=$I /etc/base /
RUN --mount=from=${I},target=/x y
