ARG PREFIX=
FROM ${PREFIX}alpine:3.20
ARG A= B="" C=''
LABEL a=-$A- b=-${B:-none}- c=-${C:-none}-
