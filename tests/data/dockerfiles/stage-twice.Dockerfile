FROM alpine:3.20 AS x
LABEL first=1
FROM x AS y
FROM alpine:3.19 AS x
ARG A=1
LABEL second=$A
FROM x AS end
COPY --from=x /etc/base /base
