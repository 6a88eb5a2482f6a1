ARG A=3.20
FROM alpine:$A AS one
ARG A=inner
LABEL a=$A
FROM alpine:$A
LABEL a=-$A-
