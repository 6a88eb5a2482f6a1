FROM alpine:3.20 AS a
COPY --from=b /x /
RUN --mount=from=B,target=/b x
FROM a AS b
FROM a AS c
