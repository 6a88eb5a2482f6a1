FROM scratch AS empty
COPY a.txt /
FROM alpine:3.20 AS scratch
FROM scratch
LABEL from=alpine
FROM empty AS last
COPY --from=scratch /etc/base /base
