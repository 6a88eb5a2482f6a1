ARG Y=no
ARG X=yes
FROM alpine:3.20
ARG Y
ARG X
ARG Z=$X
ENV E=$Z
LABEL x=$X z=$Z e=$E
