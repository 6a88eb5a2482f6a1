FROM alpine:3.20 AS one
ARG TAG=3.19
FROM alpine:3.20$TAG
LABEL tag=-$TAG-
