ARG A B
FROM alpine:3.20
